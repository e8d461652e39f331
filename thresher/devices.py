"""Where the work runs: cpu, cuda or mps, and which half precision the chip really has."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from thresher.errors import InputError

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# What torch may compute of float32 in fewer bits, each by a setting of its own (torch 2.9 and newer).
FLOAT32_SETTINGS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
# Of malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


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
        # Less than the chip has where torch was told so (ATEN_CPU_CAPABILITY).
        if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
            return False
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, lambda: False)() for check in checks)
    return False


def has_bf16_tiles(device: torch.device) -> bool:
    """Whether products of bfloat16 are several times as fast as those of float32, as on a GPU or a CPU with AMX."""
    return has_bf16(device) and (device.type != "cpu" or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def autocast(device: torch.device, precision: str = "auto") -> AbstractContextManager:
    """`auto`: bf16 where native, else float32, which is full float32. `float32`, `bf16` and `fp16` force it."""
    if precision not in ("auto", *DTYPES):
        raise InputError(f"precision {precision!r} is unknown; pass auto, {', '.join(DTYPES)}")
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "float32"
    dtype = DTYPES[precision]
    if dtype == torch.float32:
        return full_float32()
    if not _computes(device.type, dtype):
        raise InputError(f"precision {precision} does not work on {device.type} here; pass float32")
    return torch.autocast(device.type, dtype=dtype)


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, products and convolutions of float32 are float32, whatever the process allows elsewhere.

    `torch.set_float32_matmul_precision` below "highest", TF32 and oneDNN's variable let a chip that can round factors
    to bfloat16 or TF32 first: two machines then disagree in the third digit. Also a decorator of functions.
    """
    with ExitStack() as stack:
        if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
            for name in FLOAT32_SETTINGS:
                library, operation = name.split(".")
                setting = getattr(getattr(torch.backends, library), operation)
                if setting.fp32_precision != "ieee":
                    stack.callback(setattr, setting, "fp32_precision", setting.fp32_precision)
                    setting.fp32_precision = "ieee"
        else:
            stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
            torch.set_float32_matmul_precision("highest")
            torch.backends.cudnn.allow_tf32 = False
        if not onednn_keeps_float32():
            mkldnn: Any = torch.backends.mkldnn
            stack.callback(setattr, mkldnn, "enabled", mkldnn.enabled)
            mkldnn.enabled = False
        yield


def onednn_keeps_float32() -> bool:
    """False where oneDNN was told, as the process began, to take fewer bits: no setting of torch overrules that."""
    modes = (os.environ.get(f"{library}_DEFAULT_FPMATH_MODE", "") for library in ("ONEDNN", "DNNL"))
    return all(mode.upper() in ("", "STRICT") for mode in modes)


@cache
def _computes(kind: str, dtype: torch.dtype) -> bool:
    """Whether autocast to `dtype` gives right products and convolutions there, and their gradients."""
    images, kernels = torch.ones(1, 2, 3, 3, device=kind), torch.ones(4, 2, 3, 3, device=kind, requires_grad=True)
    try:
        with torch.enable_grad(), torch.autocast(kind, dtype=dtype):
            made = F.linear(F.conv2d(images, kernels).flatten(1), kernels.flatten(1)[:, :4])
        (gradient,) = torch.autograd.grad(made.sum(), kernels)
        return made.dtype == dtype and bool((made == 72).all()) and bool(gradient.isfinite().all())
    except RuntimeError:  # no kernel for it, or no autocast
        return False


def memory_of(device: torch.device) -> int:
    """Bytes of memory of the device, in use or not."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def keep_memory() -> None:
    """Have the C library keep what is freed for the next batch (glibc; elsewhere nothing happens).

    By default a tensor above 32 MB gets fresh pages from the system each time it is allocated, cleared one by one: at
    256 CIFAR images a pass through a ResNet-9 of width 16 took 5 times as long so (2 cores of a Zen 5).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    mallopt(M_MMAP_THRESHOLD, 2**30)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
