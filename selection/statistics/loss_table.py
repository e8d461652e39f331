"""Losses of models of several sizes trained on several recipes: at which step, of which seeds, what two sizes share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thresher.errors import InputError

Runs = dict[str, dict[str, dict[str, float]]]
"""Recipe -> test set -> seed -> its loss."""
Losses = dict[str, dict[str, list[float]]]
"""Recipe -> test set -> the loss of each seed, in the order of their names."""


@dataclass(frozen=True)
class LossTable:
    """Losses by size and step (0 in a table without steps)."""

    by_size: Mapping[str, Mapping[float, Runs]]

    @property
    def sizes(self) -> list[str]:
        """The sizes, in the order of the files."""
        return list(self.by_size)

    def last_step(self, size: str) -> float:
        """The last step at which every recipe of `size` has every test set that it has anywhere.

        Raises InputError if there is none.
        """
        steps = self._of(size)
        cells = {at: {(recipe, name) for recipe, sets in runs.items() for name in sets} for at, runs in steps.items()}
        everything = set().union(*cells.values())
        whole = [at for at, own in cells.items() if own == everything]
        if not whole:
            raise InputError(
                f"size {size!r} has no step at which all its recipes have all their test sets; pass the step to "
                "compare at, or leave out what is not there"
            )
        return max(whole)

    def end(self, size: str) -> float:
        """The last step at which anything of `size` was measured."""
        return max(self._of(size))

    def share(self, size: str, step: float) -> float:
        """The part of a run of `size` that was done by `step`; 1 where nobody knows."""
        end = self.end(size)
        return step / end if 0 < step < end else 1.0

    def at(self, size: str, step: float | None = None, average: int = 1) -> Losses:
        """The losses of `size` at `step`; None: the last step that all its recipes have.

        With `average` above 1 those of the so many last steps up to it that all have, averaged seed by seed: a single
        step is as noisy as another seed. Raises InputError where there are fewer.
        """
        last = self._last_steps(size, step, average)
        if len(last) < average:
            end = self.last_step(size) if step is None else step
            raise InputError(
                f"size {size!r} has {len(last)} steps up to {end:g}, and {average} are to be averaged; average fewer"
            )
        return {
            recipe: {
                name: [float(np.mean([at[recipe][name][seed] for at in last])) for seed in sorted(seeds)]
                for name, seeds in sets.items()
            }
            for recipe, sets in last[-1].items()
        }

    def checkpoints(self, size: str, step: float | None = None, count: int = 5) -> Losses:
        """The loss at each of the last `count` steps up to `step`, in the place of seeds: a run's own noise.

        Of recipes with several seeds the first one's, by name. Fewer steps where there are fewer.
        """
        last = self._last_steps(size, step, count)
        return {
            recipe: {name: [at[recipe][name][min(seeds)] for at in last] for name, seeds in sets.items()}
            for recipe, sets in last[-1].items()
        }

    def _last_steps(self, size: str, step: float | None, count: int) -> list[Runs]:
        """The runs at the last `count` steps up to `step`, that one last; fewer where fewer have the same seeds."""
        steps = self._of(size)
        step = self.last_step(size) if step is None else step
        if step not in steps:
            known = ", ".join(f"{known:g}" for known in sorted(steps)[-5:])
            raise InputError(f"size {size!r} has no step {step:g}; its last ones are {known}")
        shape, last = _shape(steps[step]), [steps[step]]
        for at in sorted((at for at in steps if at < step), reverse=True):
            if len(last) == count:
                break
            if _shape(steps[at]) == shape:
                last.insert(0, steps[at])
        return last

    def _of(self, size: str) -> Mapping[float, Runs]:
        if size not in self.by_size:
            raise InputError(f"size {size!r} is not in the table; its sizes are {', '.join(self.by_size)}")
        return self.by_size[size]


def _shape(runs: Runs) -> dict[str, dict[str, set[str]]]:
    """Which seeds there are of each recipe and test set."""
    return {recipe: {name: set(seeds) for name, seeds in sets.items()} for recipe, sets in runs.items()}


def common(proxy: Losses, reference: Losses) -> tuple[list[str], list[str]]:
    """The recipes, by name, and the test sets that both sides have in full: the same whatever the order of rows.

    A test set that one side lacks, or half of the recipes on either, is left out; then the recipes that lack one of
    the others. Raises InputError for fewer than 3 recipes.
    """
    shared = sorted(proxy.keys() & reference.keys())
    if len(shared) < 3:
        raise InputError(f"proxy and reference share {len(shared)} recipes; decisions are judged on 3 or more")
    names = dict.fromkeys(name for recipe in shared for name in proxy[recipe])
    having = {name: [r for r in shared if name in proxy[r] and name in reference[r]] for name in names}
    sets = [name for name, own in having.items() if 2 * len(own) > len(shared)]
    complete = [recipe for recipe in shared if all(recipe in having[name] for name in sets)]
    if not sets or len(complete) < 3:
        raise InputError(
            f"{len(complete) if sets else 0} of {len(shared)} recipes have all {len(sets) or len(names)} test sets on "
            "both sides; 3 or more are needed"
        )
    return complete, sets


def means(losses: Losses, recipes: Sequence[str], sets: Sequence[str]) -> dict[str, list[float]]:
    """The mean loss over seeds of each recipe, by test set."""
    return {name: [float(np.mean(losses[recipe][name])) for recipe in recipes] for name in sets}
