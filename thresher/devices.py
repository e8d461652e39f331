"""Where the work runs: cpu, cuda or mps, and which half precision the chip really has."""

from contextlib import AbstractContextManager, nullcontext

import torch

from thresher.errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """`auto` takes cuda, then mps, then cpu; a named device that is not there is refused."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind = name.split(":")[0]
    if not available.get(kind, False):
        there = ", ".join(kind for kind, there in available.items() if there)
        raise InputError(f"device {name!r} is not on this machine; pass one of: auto, {there}")
    return torch.device(name)


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 matrix products are native on this chip, not emulated (emulation is slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    return False


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager:
    """`auto`: bf16 where native, else float32. `float32` and `bf16` force it."""
    if precision not in ("auto", "float32", "bf16"):
        raise InputError(f"precision {precision!r} is unknown; pass auto, float32 or bf16")
    if precision == "bf16" or (precision == "auto" and has_bf16(device)):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
