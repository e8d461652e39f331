"""Is a training smooth in the weights of its data? Asked before its metagradient, which says little where it is not.

Metasmoothness (Engstrom et al. 2025, 2503.13751): train with weights 1, 1 + h v and 1 + 2 h v, v normal over examples.

    ms = sum_j |d_j| / |d|_1 * sign(x_h - x_0)_j * sign(x_2h - x_h)_j,     d = x_2h - x_0

It is 1 where every parameter moves on in the direction in which it began, and about 0 where it turns at random.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.unrolling.replay import Replay
from thresher.attribution.unrolling.sweep import Window, state_file
from thresher.progress import SILENT, Progress
from thresher.seeds import torch_rng

LOW = 0.95
"""GPT-2 of 0.1 M parameters, the whole run from scratch: LDS .81 at .955 (eps_root 1e-6), -.03 at .897 (none)."""
ADVICE = "train with eps_root (1e-6), with larger batches, or ask about a shorter window at the end of training"


def smoothness_of(
    replay: Replay, window: Window, folder: Path, *, h: float = 0.1, seed: int = 0, progress: Progress = SILENT
) -> float:
    """Metasmoothness of a replay in the weights of its window: two trainings of the window.

    The states of the window are in `folder` (`keep_states`). The weights are put back afterwards.
    """
    plain, ends = replay.weights, []
    noise = torch.randn(replay.num_examples, generator=torch_rng(seed, "metasmoothness")).to(plain)
    replay.restore(state_file(folder, replay.num_steps))
    ends.append(parameters_of(replay))
    with progress.task("metasmoothness", 2 * window.steps) as advance:
        for multiple in (1, 2):
            replay.restore(state_file(folder, window.start))
            replay.weights = plain * (1 + multiple * h * noise)
            try:
                replay.run(advance)
            finally:
                replay.weights = plain
            ends.append(parameters_of(replay))
    return metasmoothness(*ends)


def metasmoothness(plain: Mapping[str, Tensor], once: Mapping[str, Tensor], twice: Mapping[str, Tensor]) -> float:
    """The measure of final parameters under weights 1, 1 + h v and 1 + 2 h v; NaN where some are not finite."""
    first = _flat(once) - _flat(plain)
    second = _flat(twice) - _flat(once)
    size = (first + second).abs()
    return float((size * first.sign() * second.sign()).sum() / size.sum())


def parameters_of(replay: Replay) -> dict[str, Tensor]:
    """A copy of the trained parameters, as they now stand."""
    return {name: replay.model.get_parameter(name).detach().clone() for name in replay.names}


def _flat(parameters: Mapping[str, Tensor]) -> Float[Tensor, "p"]:
    return torch.cat([value.double().flatten() for value in parameters.values()])
