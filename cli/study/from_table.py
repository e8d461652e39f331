"""`thresher study from-table`: would decisions on the small models of a table hold on its largest?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from thresher.cli.command import Command, named_numbers
from thresher.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FromTable(Command):
    """Judge proxies by a table of losses that somebody else trained: which decisions between recipes would hold.

    Long: a row a loss, with columns for size, recipe, test set. Wide: --losses with patterns of the columns of losses.
    Sizes in files of their own are given as SIZE=FILE.
    """

    files: tyro.conf.Positional[tuple[str, ...]]
    """CSV files, or SIZE=FILE of each size."""
    reference: str | None = None
    """The size whose order of recipes is the truth; None: the largest. SIZE@STEP for a step of it."""
    proxies: tuple[str, ...] = ()
    """The sizes to judge, each SIZE or SIZE@STEP; none: all the others."""
    size: str = "size"
    """Name of the column of sizes (as are the next ones)."""
    recipe: str = "recipe"
    test_set: str = "test_set"
    loss: str = "loss"
    losses: tuple[str, ...] = ()
    """Patterns of the columns of a wide table, such as 'metric/*'."""
    step: str | None = None
    """The column of steps; compared are the last steps that all recipes of a size have, unless --at-step says which."""
    seed_column: str | None = None
    at_step: float | None = None
    top: tuple[int, ...] = (1, 3)
    """k of top-k regret."""
    criterion: str = "decision_accuracy"
    """decision_accuracy, spearman or r2: whose interval has to reach --threshold for a proxy to hold."""
    threshold: float = 0.9
    costs: tuple[str, ...] = ()
    """SIZE=FLOPS of each size; none: by the numbers of parameters that the sizes' names give."""
    resamples: int = 1000
    seed: int = 0

    def run(self, progress):
        from thresher.selection.statistics.loss_table import LossColumns, read_losses

        columns = LossColumns(
            size=self.size,
            recipe=self.recipe,
            test_set=self.test_set,
            loss=self.loss,
            losses=self.losses,
            step=self.step,
            seed=self.seed_column,
        )
        table = read_losses(_files(self.files), columns)
        reference, *proxies = self._sizes(table.sizes)
        judged = {name: judge_size(table, name, reference, self) for name in proxies}
        return summary(judged, reference, costs=_costs([reference, *proxies], self.costs), settings=self)

    def _sizes(self, there: list[str]) -> list[str]:
        """The reference, then the proxies from small to large."""
        amounts = {size: _amount(size) for size in there}
        ordered = sorted(there, key=lambda size: (amounts[size] is None, amounts[size] or 0))
        if self.reference is None and (len(there) < 2 or None in amounts.values()):
            raise InputError(f"sizes {', '.join(there)}: which is the reference cannot be told; pass --reference")
        reference = self.reference or ordered[-1]
        proxies = list(self.proxies) or [size for size in ordered if size != reference.partition("@")[0]]
        if not proxies:
            raise InputError(f"size {reference!r} is the only one; give a table with a proxy's losses too")
        return [reference, *proxies]

    def show(self, result):
        return "\n".join([*lines(result), result["verdict"]["sentence"]])


def judge_size(table, name: str, reference: str, settings: Any) -> dict[str, Any]:
    """One proxy against the reference: the measures, and what was compared."""
    from thresher.selection.statistics.decisions import judge, spread_over_noise
    from thresher.selection.statistics.loss_table import common, means

    (size, step), (other, other_step) = (_at(entry, getattr(settings, "at_step", None)) for entry in (name, reference))
    ours, theirs = table.at(size, step), table.at(other, other_step)
    recipes, sets = common(ours, theirs)
    options = {"top": settings.top, "num_resamples": settings.resamples, "seed": settings.seed}
    found: dict[str, Any] = {
        "judged": judge(means(ours, recipes, sets), means(theirs, recipes, sets), **options),
        "num_recipes": len(recipes),
        "num_sets": len(sets),
        "left_out": sorted((set(ours) | set(theirs)) - set(recipes)),
    }
    if all(len(ours[recipe][sets[0]]) > 1 for recipe in recipes):
        found["spread_over_noise"] = spread_over_noise({name: [ours[r][name] for r in recipes] for name in sets})
    return found


def summary(
    judged: Mapping[str, Mapping[str, Any]], reference: str, *, costs: Mapping[str, float] | None, settings: Any
) -> dict[str, Any]:
    """The result of a study of proxies, as JSON."""
    from thresher.selection.statistics.verdict import verdict

    found = verdict(
        {name: one["judged"] for name, one in judged.items()},
        measure=settings.criterion,
        threshold=settings.threshold,
        costs=costs,
    )
    proxies = {
        name: {**one, "judged": {test: {m: asdict(e) for m, e in own.items()} for test, own in one["judged"].items()}}
        for name, one in judged.items()
    }
    smallest = None if found.smallest is None else found.smallest.size
    return {
        "reference": reference,
        "num_resamples": settings.resamples,
        "seed": settings.seed,
        "proxies": proxies,
        "verdict": {**asdict(found), "smallest": smallest, "sentence": found.sentence()},
    }


def lines(result: Mapping[str, Any]) -> list[str]:
    """A line a proxy and measure, over the mean of all test sets."""
    from thresher.selection.statistics.decisions import MEAN

    shown = []
    for name, proxy in result["proxies"].items():
        measures = proxy["judged"].get(MEAN) or next(iter(proxy["judged"].values()))
        shown.append(f"{name} against {result['reference']}: {proxy['num_recipes']} recipes, {proxy['num_sets']} sets")
        shown += [f"  {m:<20}{e['value']:.4f} [{e['low']:.4f}, {e['high']:.4f}]" for m, e in measures.items()]
    return [*shown, f"95 % intervals from {result['num_resamples']} resamples of the recipes, seed {result['seed']}"]


def _files(entries: tuple[str, ...]) -> dict[str, Path] | list[Path]:
    if not any("=" in entry for entry in entries):
        return [Path(entry) for entry in entries]
    named: dict[str, Path] = {}
    for entry in entries:
        size, _, path = entry.partition("=")
        if not size or not path or size in named:
            raise InputError(f"{entry!r}: give all files, or SIZE=FILE for each, every size once")
        named[size] = Path(path)
    return named


def _at(entry: str, default: float | None) -> tuple[str, float | None]:
    size, _, step = entry.partition("@")
    try:
        return size, float(step) if step else default
    except ValueError:
        raise InputError(f"{entry!r}: the step is no number; write SIZE@STEP") from None


def _amount(size: str) -> float | None:
    """The number of parameters that a size's name gives, None where it gives none."""
    from thresher.proxies.models.ladder import parse_size

    try:
        return float(parse_size(size.partition("@")[0]))
    except InputError:
        return None


def _costs(sizes: list[str], given: tuple[str, ...]) -> dict[str, float] | None:
    costs: Mapping[str, float | None] = named_numbers(given, "--costs") or {size: _amount(size) for size in sizes}
    reference = costs.get(sizes[0])
    if not reference:
        return None
    return {size: cost / reference for size in sizes[1:] if (cost := costs.get(size)) is not None}
