"""Back through a training: the derivative of what its final parameters are judged by with respect to all weights.

Reverse mode over the steps (metagradients, 2503.13751; MAGIC, 2504.16430). A cotangent says what a small change of the
state before step t would change in the end; one step backwards is

    1  through the optimiser's update, to the state before and to the batch's gradient (`rules`)
    2  through the gradient: its cotangent c is a direction in parameter space; the curvature times c goes to the
       parameters, and <c, gradient of example i's share of the loss> is what the weight of i has changed (`curvature`)

With the exact Hessian in 2 this is the metagradient, with the Gauss-Newton matrix AdamW-influence (2605.18814), which
differentiates nothing twice.

The training is taken forward once; every sqrt(T)-th state goes to disk. From the last of them backwards, the steps up
to the next are taken again and held in memory. In all 2 trainings forward, T curvature products, 2 sqrt(T) states.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from thresher.artifacts import is_sound, piece
from thresher.attribution.unrolling.curvature import CURVATURES, Directions, gradient_of
from thresher.attribution.unrolling.replay import Replay, Step
from thresher.attribution.unrolling.rules import pull_through_clipping
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.progress import SILENT, Progress

SECONDS_BETWEEN_SAVES = 30.0
# How far the gradient of a replayed step may be from training's, relative to its norm.
TOLERANCE = 1e-3

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The last steps of a training, whose weights are asked about, and how often its state is kept."""

    steps: int
    start: int
    spacing: int
    """Steps between two states on disk: so many are held in memory at once."""

    @classmethod
    def of(cls, num_steps: int, window: int | None = None, spacing: int | None = None) -> "Window":
        """The last `window` steps (None: all), a state every `spacing` (None: the root of their number).

        Raises InputError for numbers out of range.
        """
        steps = num_steps if window is None else window
        if not 1 <= steps <= num_steps:
            raise InputError(f"window={window} is out of range; pass 1 to {num_steps}, the steps of this training")
        if spacing is not None and spacing < 1:
            raise InputError(f"spacing={spacing} is out of range; pass 1 or more steps between two states")
        return cls(steps=steps, start=num_steps - steps, spacing=spacing or math.isqrt(steps - 1) + 1)

    @property
    def kept(self) -> list[int]:
        """The steps before which the state is kept."""
        return list(range(self.start, self.start + self.steps, self.spacing))


@dataclass(frozen=True)
class Cost:
    """What going back through a training takes, known before it starts."""

    disk: float
    """Gigabytes of states."""
    memory: float
    """Gigabytes of the steps held at once and of the cotangents; model and activations come on top."""
    passes: float
    """Times a plain training, where all its steps cost the same."""

    @classmethod
    def of(
        cls, replay: Replay, window: Window, num_targets: int, curvature: str, *, is_checked: bool = False
    ) -> "Cost":
        """From the sizes of the trained parameters, and the passes that `PASSES` says; with a check of smoothness."""
        names = replay.names
        size = sum(
            replay.model.get_parameter(name).numel() * replay.model.get_parameter(name).element_size() for name in names
        )
        copies = 1 + (2 if isinstance(replay.optimizer, torch.optim.AdamW) else 1)
        share, (first, more) = window.steps / replay.num_steps, PASSES[curvature]
        products = first + more * (num_targets - 1)
        held = window.spacing * (copies + 1) + 2 * copies * num_targets
        return cls(
            len(window.kept) * copies * size / 1e9, held * size / 1e9, 1 + share * (1 + products + 2 * is_checked)
        )

    def __str__(self) -> str:
        return f"{self.passes:.1f} times a training, {self.memory:.2g} GB of memory, {self.disk:.2g} GB of disk"


# Products with the curvature in plain passes: of the first direction, of each further one (GPT-2 of .3M, one core).
PASSES = {"hessian": (5.1, 3.3), "gauss-newton": (2.9, 2.5), "fisher": (3.3, 2.5)}


def keep_states(replay: Replay, window: Window, folder: Path, progress: Progress = SILENT) -> None:
    """Take a replay that stands at its start to its end, and keep the states of the window and the last one.

    States that are there already are not made again. The replay then stands at the end.
    """
    wanted = [*window.kept, replay.num_steps]
    there = [step for step in wanted if is_sound(state_file(folder, step))]
    if there:
        replay.restore(state_file(folder, max(there)))
    elif replay.step:
        raise InputError(f"this replay stands at step {replay.step} and not at its start; make it anew")
    with progress.task("training again", replay.num_steps) as advance:
        advance(replay.step)
        while True:
            if replay.step in wanted and not is_sound(state_file(folder, replay.step)):
                replay.save(state_file(folder, replay.step))
            if replay.step == replay.num_steps:
                return
            replay.advance()
            advance(1)


def state_file(folder: Path, step: int) -> Path:
    """Where the state before a step lies."""
    return folder / f"step-{step:08d}"


@full_float32()
def unroll(
    replay: Replay,
    gradients: Directions,
    window: Window,
    folder: Path,
    *,
    curvature: str = "hessian",
    most: int | None = None,
    progress: Progress = SILENT,
) -> Float[Tensor, "d n"]:
    """The derivative of d outcomes with respect to the weight of each example in the window, float64 on the CPU.

    replay     with the states of the window kept in `folder` (`keep_states`)
    gradients  of the outcomes with respect to the parameters at the end, [d, *shape] by parameter
    most       rows of a batch differentiated at once, which decides the memory; the result is the same

    A killed call goes on from the cotangents it last kept. Raises InputError where the replay is not the training (its
    gradient is another), and where the derivative is no longer finite.
    """
    sweep = _Sweep(replay, CURVATURES[curvature], most, folder / "cotangents.safetensors")
    sweep.begin(gradients)
    saved = time.monotonic()
    with progress.task("backwards", window.steps) as advance:
        advance(replay.num_steps - sweep.step)
        for start in reversed([step for step in window.kept if step < sweep.step]):
            replay.restore(state_file(folder, start))
            steps = [replay.record() for _ in range(sweep.step - start)]
            while steps:
                sweep.back(steps.pop())
                advance(1)
            sweep.check_finite()
            if time.monotonic() - saved >= SECONDS_BETWEEN_SAVES or start == window.start:
                sweep.save()
                saved = time.monotonic()
    return sweep.slopes.cpu()


class _Sweep:
    """Cotangents of the state before `step`, and the slopes of the weights so far."""

    def __init__(self, replay: Replay, curvature: Callable, most: int | None, file: Path) -> None:
        self.replay, self.curvature, self.most, self.file = replay, curvature, most, file
        self.is_checked = False

    def begin(self, gradients: Directions) -> None:
        """Start at the end, or where the file says."""
        first = next(iter(gradients.values()))
        self.step = self.replay.num_steps
        self.cotangents: dict[str, list[Tensor]] = {name: [gradients[name]] for name in self.replay.names}
        self.slopes = torch.zeros(len(first), self.replay.num_examples, dtype=torch.float64, device=first.device)
        if is_sound(self.file):
            kept = load_file(self.file, device=str(first.device))
            self.step, self.slopes = int(kept.pop("step")), kept.pop("slopes")
            for name in self.cotangents:
                count = sum(key.startswith(f"{name}/") for key in kept)
                self.cotangents[name] = [kept[f"{name}/{index}"] for index in range(count)]

    def back(self, step: Step) -> None:
        """Go back through one step."""
        self._check(step)
        to_gradient, before = {}, {}
        for name, after in self.cotangents.items():
            # The end of training is judged by its parameters alone.
            after = after + [torch.zeros_like(after[0]) for _ in range(1 + len(step.rules[name].moments) - len(after))]
            if name in step.gradients:
                pulled = step.rules[name].pull(after, step.gradients[name], step.moments[name])
                to_gradient[name], before[name] = pulled.gradient, pulled.state
            else:
                to_gradient[name], before[name] = torch.zeros_like(after[0]), after
        to_gradient = pull_through_clipping(to_gradient, step.gradients, step.norm, self.replay.clip)
        products = self.curvature(self.replay.model, step, to_gradient, self.most)
        for name, state in before.items():
            state[0] = state[0] + products.along[name]
        self.cotangents, self.step = before, self.step - 1
        self.slopes += products.slopes

    def save(self) -> None:
        """Keep everything in the file."""
        tensors = {f"{name}/{i}": value for name, values in self.cotangents.items() for i, value in enumerate(values)}
        tensors |= {"slopes": self.slopes, "step": torch.tensor(self.step)}
        with piece(self.file) as file:
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, file)

    def check_finite(self) -> None:
        """Refuse derivatives that have left the numbers."""
        if not bool(torch.isfinite(self.slopes).all()):
            raise InputError(
                f"the derivative is no longer finite {self.replay.num_steps - self.step} steps before the end; train "
                "with eps_root (1e-6), or ask about a shorter window"
            )

    def _check(self, step: Step) -> None:
        """Compare the gradient of the first step that is gone back through with the one that training had."""
        if self.is_checked:
            return
        self.is_checked, clip = True, self.replay.clip
        factor = 1.0 if clip is None else min(1.0, clip / (step.norm + 1e-6))
        again = gradient_of(self.replay.model, step, self.most)
        zero = torch.zeros(())
        apart = sum((step.gradients.get(name, zero) - factor * value).square().sum() for name, value in again.items())
        size = sum(value.square().sum() for value in step.gradients.values())
        if not float(apart) <= TOLERANCE**2 * float(size):
            raise InputError(
                f"the gradient of step {self.step - 1} is not the one that training had (relative difference "
                f"{math.sqrt(float(apart) / max(float(size), 1e-300)):.2g}); train in float32 and without dropout"
            )
