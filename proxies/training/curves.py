"""Learning curves: the loss on training and on held-out examples, by domain, at a few steps of a training."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from thresher.data.examples import Examples
from thresher.proxies.evaluation import evaluate
from thresher.seeds import numpy_rng

POINTS = 12
"""Looks at the models, at steps that grow by a constant factor; the last is the end."""
WINDOWS = 16
"""Windows (images) of a domain that are looked at, in whole examples."""


class Curves:
    """What is measured during one training, and the losses so far: NaN until the model has been looked at."""

    def __init__(
        self, examples: Examples, trained_on: Int[np.ndarray, "m"], held_out: Examples, num_steps: int, *, seed: int
    ) -> None:
        self.steps = np.unique(np.geomspace(1, num_steps, POINTS).round().astype(int))
        self._sides = {
            "train": (examples, _some(examples, np.unique(trained_on), seed)),
            "held_out": (held_out, _some(held_out, np.arange(len(held_out)), seed)),
        }
        self._domains = {side: domains_of(*drawn) for side, drawn in self._sides.items()}
        self.losses = {side: torch.full((len(self.steps), len(d)), torch.nan) for side, d in self._domains.items()}

    def look(self, model: nn.Module, step: int) -> None:
        """Measure the model after so many steps, if this is a time to; it is left as it was."""
        if step not in self.steps:
            return
        row, device = int(np.searchsorted(self.steps, step)), str(next(model.parameters()).device)
        for side, (examples, members) in self._sides.items():
            losses = evaluate(model, examples, indices=members, device=device)["loss"]
            self.losses[side][row] = self._by_domain(side, losses)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The losses, [points, domains] of each side, to be kept with the training's state."""
        return {f"curves/{side}": losses for side, losses in self.losses.items()}

    def facts(self) -> dict[str, Any]:
        """Of each side (`train`, `held_out`) the loss of each of its `domains` at `steps`, and their `mean`."""
        made: dict[str, Any] = {"steps": self.steps.tolist()}
        for side, losses in self.losses.items():
            curves = {domain: losses[:, column].tolist() for column, domain in enumerate(self._domains[side])}
            made[side] = {"mean": losses.mean(dim=1).tolist(), "domains": curves}
        return made

    def _by_domain(self, side: str, losses: Float[np.ndarray, "m"]) -> Float[Tensor, "d"]:
        examples, members = self._sides[side]
        domains = examples.domains[members]
        return torch.tensor([float(losses[domains == domain].mean()) for domain in self._domains[side]])


def domains_of(examples: Examples, members: Int[np.ndarray, "m"]) -> list[str]:
    """The names of the domains that these examples are of."""
    return np.unique(examples.domains[members]).tolist()


def _some(examples: Examples, members: Int[np.ndarray, "m"], seed: int) -> Int[np.ndarray, "k"]:
    """Of each domain random examples until they have WINDOWS windows."""
    shuffled = numpy_rng(seed, "curves").permutation(members)
    windows, chosen = np.bincount(examples.windows.example, minlength=len(examples)), []
    for domain in np.unique(examples.domains[members]):
        own = shuffled[examples.domains[shuffled] == domain]
        before = np.cumsum(windows[own]) - windows[own]
        chosen.append(own[before < WINDOWS])
    return np.sort(np.concatenate(chosen))
