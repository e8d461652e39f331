"""`thresher study from-table`: would decisions on the small models of a table hold on its largest?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

from thresher.choices import DecidingSets, Measure
from thresher.cli.command import Command, named_numbers
from thresher.cli.lines import trust_lines
from thresher.errors import InputError


@dataclass(frozen=True, kw_only=True)
class FromTable(Command):
    """Judge proxies by a table of losses that somebody else trained: which decisions between recipes would hold.

    Long: a row a loss, with columns for size, recipe, test set. Wide: --losses with patterns of the columns of losses.
    Sizes in files of their own are given as SIZE=FILE.
    """

    usage = """
    thresher study from-table losses.csv
    thresher study from-table 1M=small.csv 10M=large.csv --losses 'loss/*' --reference 10M
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
    average: int = 1
    """With --step: the losses of the last so many steps are averaged, on both sides."""
    top: tuple[int, ...] = (1, 3)
    """k of top-k regret."""
    criterion: Measure = "decision_accuracy"
    """decision_accuracy, weighted_accuracy (pairs count by how far apart they lie), clear_accuracy (pairs that the
    reference's noise does not hide), spearman or r2: whose interval has to reach --threshold for a proxy to hold."""
    threshold: float = 0.9
    sets: DecidingSets = "all"
    """What the mean is of: all test sets, those able to decide, in which noise leaves room for --threshold, or all
    weighted by signal to noise at the reference."""
    costs: tuple[str, ...] = ()
    """SIZE=FLOPS of each size; none: the mean of the column `flops`, where there is one, or else by the numbers of
    parameters that the sizes' names give. A column `seconds` says how long runs take."""
    resamples: int = 1000
    seed: int = 0

    def check(self):
        super().check()
        files = _files(self.files)
        for path in files.values() if isinstance(files, dict) else files:
            if not path.exists():
                raise InputError(f"{path} does not exist; check the path")

    def run(self, progress):
        from thresher.selection.statistics.loss_table import LossColumns, read_losses, read_means
        from thresher.selection.statistics.verdict import Criterion
        from thresher.studies.experiments.trust import judge_size, summary

        criterion = Criterion(
            self.criterion, self.threshold, self.top, self.resamples, self.seed, sets=self.sets, average=self.average
        )
        columns = LossColumns(
            size=self.size,
            recipe=self.recipe,
            test_set=self.test_set,
            loss=self.loss,
            losses=self.losses,
            step=self.step,
            seed=self.seed_column,
        )
        files = _files(self.files)
        table = read_losses(files, columns)
        reference, *proxies = self._sizes(table.sizes)
        judged = {name: judge_size(table, name, reference, criterion, self.at_step) for name in proxies}
        flops, seconds = read_means(files, columns, ("flops", "seconds"))
        costs = _costs([reference, *proxies], self.costs, flops, seconds)
        return summary(judged, reference, costs=costs, criterion=criterion)

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
        return "\n".join([*trust_lines(result), result["verdict"]["sentence"]])


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


def _amount(size: str) -> float | None:
    """The number of parameters that a size's name gives, None where it gives none."""
    from thresher.proxies.models.ladder import parse_size

    try:
        return float(parse_size(size.partition("@")[0]))
    except InputError:
        return None


def _costs(sizes: list[str], given: tuple[str, ...], flops: Mapping[str, float], seconds: Mapping[str, float]):
    """What runs of the sizes (SIZE or SIZE@STEP), the reference first, cost; None where that is not known of it."""
    from thresher.selection.statistics.further import Costs

    known = named_numbers(given, "--costs") or flops
    plain = {size: size.partition("@")[0] for size in sizes}
    amounts = {size: known.get(size, known.get(name)) if known else _amount(size) for size, name in plain.items()}
    whole = {size: amount for size, amount in amounts.items() if amount}
    if sizes[0] not in whole:
        return None
    measured = {size: seconds[name] for size, name in plain.items() if name in seconds}
    return Costs(reference=sizes[0], amounts=whole, in_flops=bool(known), seconds=measured)
