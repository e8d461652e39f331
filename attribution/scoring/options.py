"""What the methods that score without features (`dual`, `direction`) are asked for, and what of it is refused."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from thresher.attribution.scoring.goal import check_goal, resolve_goal
from thresher.attribution.scoring.kernel import EXACT_DAMPING
from thresher.attribution.scoring.weighting import check_q, resolve_q
from thresher.data.batches import Part, all_of
from thresher.data.examples import Examples
from thresher.devices import pick_device
from thresher.errors import InputError
from thresher.scores import check_names

GIGABYTE = 1e9
# K, K with lambda on its diagonal, and its Cholesky factor, in float64; and of each right-hand side as many.
BYTES_A_PAIR = 24

Models = Sequence[tuple[str, Callable[[], nn.Module]]]
"""(content hash, loader) of each checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What scoring without features is asked for, beside models and data."""

    damping: float | int | None = None
    """lambda in multiples of mean(diag G G^T); None: 3."""
    q: str | None = None
    """None: sqrt for selection, none for labels."""
    goal: str = "selection"
    """selection, labels or auto: see `goal`."""
    output: str = "margin"
    parameters: str | None = None
    memory_gb: float = 4.0
    """For the kernel and the gradients held at once; the model and the activations of a batch come on top."""
    batch_tokens: int | None = None
    device: str = "auto"

    @property
    def multiple(self) -> float | int:
        """Damping as a multiple of mean(diag G G^T), with the default filled in."""
        return EXACT_DAMPING if self.damping is None else self.damping

    def for_goal(self, pool: Examples, targets: Mapping[str, Examples]) -> "Options":
        """The same with the goal and q that hold for these: nothing is left to be chosen."""
        goal = resolve_goal(self.goal, pool, targets)
        return replace(self, goal=goal, q=resolve_q(self.q, "thresher", goal=goal))

    @property
    def request(self) -> dict[str, float | int | str | None]:
        """What decides the scores: memory, batches and device change rounding at most."""
        return {"damping": self.multiple, "q": self.q, "output": self.output, "parameters": self.parameters} | {
            "goal": self.goal
        }

    def check(self, models: Models, pool: Examples, targets: Mapping[str, Examples], *, zero_damping: bool) -> None:
        """Raise InputError for what cannot be scored, before any model is loaded."""
        check_names(targets)
        check_goal(self.goal)
        if self.q is not None:
            check_q(self.q)
        if not models:
            raise InputError("no model given; pass at least one checkpoint")
        for name, examples in {"pool": pool, **targets}.items():
            if len(examples) == 0:
                raise InputError(f"{name} has 0 examples; give data with at least one")
        if not 0 <= self.multiple < math.inf or not (self.multiple or zero_damping):
            least = "0 or more" if zero_damping else "more than 0"
            raise InputError(f"damping={self.damping} is out of range; pass a finite number, {least}, or leave it out")

    def part(self, examples: Examples) -> Part:
        """All examples, in batches of the size that was asked for."""
        return all_of(examples, self.batch_tokens)

    @property
    def reading(self) -> dict[str, Any]:
        """Options of the `GradientEngine` that reads them."""
        return {"output": self.output, "parameters": self.parameters, "device": pick_device(self.device)}

    def memory_beside(self, num_rows: int, num_columns: int) -> float:
        """Bytes left beside a kernel of so many examples and right-hand sides; refuses a kernel that is too large."""
        given, fixed = self.memory_gb * GIGABYTE, BYTES_A_PAIR * num_rows * num_columns
        needed = BYTES_A_PAIR * num_rows**2 + fixed
        if needed > given:
            most = int(math.sqrt(given / BYTES_A_PAIR + num_columns**2 / 4) - num_columns / 2)
            raise InputError(
                f"the kernel of {num_rows} examples with {num_columns} columns of scores takes "
                f"{needed / GIGABYTE:.3g} GB and {self.memory_gb:g} GB were given, enough for {most} examples; "
                "give more memory, or score by features or by direction with a smaller sample"
            )
        return given - fixed - 8 * num_rows**2  # while it is filled the kernel is there once


def hashes(models: Models, pool: Examples, targets: Mapping[str, Examples]) -> dict[str, str]:
    """What the scores are made from, as an artefact records it."""
    data = {"pool": pool} | {f"target {name}": examples for name, examples in targets.items()}
    return {name: examples.content_hash for name, examples in data.items()} | {
        f"model {m}": content_hash for m, (content_hash, _) in enumerate(models)
    }
