"""Where the numbers of a training go while it runs, besides its artefact: TensorBoard, Weights & Biases, trackio."""

import importlib
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from thresher.choices import TRACKERS
from thresher.errors import InputError, unknown

PROJECT = "thresher"
"""What trackers that sort runs by project are told."""


@runtime_checkable
class Tracker(Protocol):
    """A run of somebody's tracker that is told numbers by step."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Tell the numbers of a step, from 1."""
        ...

    def close(self) -> None:
        """Say that there will be no more; everything is written then."""
        ...


Opens = Callable[[], Tracker]
"""Begins the run; called when there is something to tell, so that a training that is there already begins none."""


def tracker_of(kind: str, out: Path) -> Opens:
    """What begins a run for the artefact at `out`, in the tracker of the name `kind`.

    tensorboard  event files in OUT-tensorboard, beside the artefact
    wandb        a run of the project "thresher" called as OUT; its files in OUT-wandb. WANDB_MODE=offline sends nothing
    trackio      a run of the project "thresher" called as OUT, in trackio's own folder
    Raises InputError for another name, and where the package is not installed, before anything is trained.
    """
    if kind not in TRACKERS:
        raise unknown("log_to", kind, TRACKERS)
    module, opens = KINDS[kind]
    try:
        package = importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"log_to {kind} needs it ({error}); pip install 'thresher[integrations]'") from None
    return lambda: opens(package, Path(out))


class _TensorBoard:
    def __init__(self, package: Any, out: Path) -> None:
        self._writer = package.SummaryWriter(str(out.with_name(f"{out.name}-tensorboard")))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, package: Any, out: Path) -> None:
        folder = out.with_name(f"{out.name}-wandb")
        folder.mkdir(parents=True, exist_ok=True)
        settings = package.Settings(silent=True, console="off")
        self._run = package.init(project=PROJECT, name=out.name, dir=str(folder), settings=settings)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """It speaks on stdout, which is for results; what it says is kept back."""

    def __init__(self, package: Any, out: Path) -> None:
        self._package = package
        with redirect_stdout(StringIO()):
            package.init(project=PROJECT, name=out.name, embed=False, auto_log_cpu=False, auto_log_gpu=False)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._package.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(StringIO()):
            self._package.finish()


KINDS: dict[str, tuple[str, Callable[[Any, Path], Tracker]]] = {
    "tensorboard": ("torch.utils.tensorboard", _TensorBoard),
    "wandb": ("wandb", _WeightsAndBiases),
    "trackio": ("trackio", _Trackio),
}
"""The module that does it, and what begins a run by it."""
