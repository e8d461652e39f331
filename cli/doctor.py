"""`thresher doctor`: what this machine has, and whether a projection really works on it."""

from dataclasses import dataclass

from thresher.cli.command import Command

SIZE = 100_000
"""Numbers in the vectors that the projection is tested on."""


@dataclass(frozen=True, kw_only=True)
class Doctor(Command):
    """Say what this machine has (GPU, FAISS, bf16) and test a projection for real."""

    usage = """
    thresher doctor
    thresher doctor --device cuda --json
    """

    device: str = "auto"

    def run(self, progress):
        import os
        import platform

        import torch

        from thresher.artifacts import LIBRARIES, library_version
        from thresher.devices import has_bf16, pick_device

        device = pick_device(self.device)
        return {
            "python": platform.python_version(),
            "libraries": {name: library_version(name) for name in (*LIBRARIES, "torchvision", "traker")},
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": str(device),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
            "bf16": has_bf16(device),
            "faiss": _faiss(),
            "projection": _projection(device),
        }

    def then(self, result):
        return ["thresher", "demo"]

    def show(self, result):
        lines = [super().show({key: value for key, value in result.items() if key not in ("faiss", "projection")})]
        faiss, projection = result["faiss"], result["projection"]
        lines.append(f"faiss: {faiss['version'] or 'missing: ' + faiss['install']} ({faiss['num_gpus']} GPUs)")
        lines.append(f"projection: {'works' if projection['ok'] else 'FAILS: ' + projection['error']}")
        return "\n".join(lines)


def _faiss() -> dict:
    try:
        import faiss
    except ImportError:
        return {"version": None, "num_gpus": 0, "install": "pip install 'thresher[cpu]' (or 'thresher[gpu]')"}
    return {"version": faiss.__version__, "num_gpus": getattr(faiss, "get_num_gpus", lambda: 0)()}


def _projection(device) -> dict:
    """Project random gradients on the device: how far inner products are off, and how far they may be."""
    from thresher.attribution.gradients.projection import check_projection, make_projector
    from thresher.errors import InputError

    try:
        projector = make_projector("two-sided", SIZE, k=512, seed=0)
        return {"ok": True, **check_projection(projector, SIZE, device=device)}
    except InputError as error:
        return {"ok": False, "error": str(error)}


COMMAND = Doctor
