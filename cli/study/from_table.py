"""`thresher study from-table`: would decisions on the small models of a table hold on its largest?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro

from thresher.choices import DecidingSets, Measure
from thresher.cli.arguments import typed_path
from thresher.cli.command import Command, named_numbers
from thresher.cli.lines import trust_lines
from thresher.errors import InputError, unknown
from thresher.idle import Idle


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

    idle = Idle(
        needs={"average": ("step",), "at_step": ("step",)}, replaced=dict.fromkeys(("test_set", "loss"), ("losses",))
    )

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
    """SIZE=FLOPS of each size, of a whole run (SIZE@STEP=FLOPS: up to there); none: the mean of the column `flops`,
    where there is one, at the step that is judged, or else by the numbers of parameters that the sizes' names give. A
    column `seconds` says how long runs take."""
    resamples: int = 1000
    seed: int = 0

    def check(self):
        super().check()
        files = _files(self.files)
        for path in files.values() if isinstance(files, dict) else files:
            if not path.exists():
                raise InputError(f"{path} does not exist; check the path")

    def run(self, progress):
        from thresher.selection.statistics.loss_files import LossColumns, read_costs, read_losses
        from thresher.selection.statistics.verdict import Criterion
        from thresher.studies.experiments.judged_size import end_of, judge_size
        from thresher.studies.experiments.trust import summary

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
        ends = {entry: end_of(table, entry, self.at_step) for entry in (reference, *proxies)}
        shares = {entry: table.share(*end) for entry, end in ends.items()}
        given = named_numbers(self.costs, "--costs")
        _check_costs(given, [*table.sizes, *ends])
        costs = _costs(ends, shares, given, *read_costs(files, columns, ends, shares))
        if len(proxies) > 1 and (costs is None or not all(entry in costs.amounts for entry in proxies)):
            raise InputError(f"which of {', '.join(proxies)} is the smallest cannot be told; pass --costs SIZE=FLOPS")
        judged = {name: judge_size(table, name, reference, criterion, self.at_step) for name in proxies}
        return summary(judged, reference, costs=costs, criterion=criterion)

    def _sizes(self, there: list[str]) -> list[str]:
        """The reference, then the proxies."""
        amounts = {size: _amount(size) for size in there}
        if self.reference is None and (len(there) < 2 or None in amounts.values()):
            raise InputError(f"sizes {', '.join(there)}: which is the reference cannot be told; pass --reference")
        reference = self.reference or max(there, key=lambda size: amounts[size] or 0)
        proxies = list(self.proxies) or [size for size in there if size != reference.partition("@")[0]]
        if not proxies:
            raise InputError(f"size {reference!r} is the only one; give a table with a proxy's losses too")
        return [reference, *proxies]

    def show(self, result):
        return "\n".join([*trust_lines(result), result["verdict"]["sentence"]])


def _files(entries: tuple[str, ...]) -> dict[str, Path] | list[Path]:
    if not any("=" in entry and not typed_path(entry).is_file() for entry in entries):
        return [typed_path(entry) for entry in entries]
    named: dict[str, Path] = {}
    for entry in entries:
        size, _, path = entry.partition("=")
        if not size or not path or size in named:
            raise InputError(f"{entry!r}: give all files, or SIZE=FILE for each, every size once")
        named[size] = typed_path(path)
    return named


def _amount(size: str) -> float | None:
    """The number of parameters that a size's name gives, None where it gives none."""
    from thresher.proxies.models.ladder import parse_size

    try:
        return float(parse_size(size.partition("@")[0]))
    except InputError:
        return None


def _check_costs(given: Mapping[str, float], sizes: list[str]) -> None:
    for size, cost in given.items():
        if size not in sizes:
            raise unknown("size", size, sizes)
        if cost <= 0:
            raise InputError(f"--costs {size}={cost:g}: a run costs more than 0; correct it")


def _costs(
    ends: Mapping[str, tuple[str, float]],
    shares: Mapping[str, float],
    given: Mapping[str, float],
    flops: Mapping[str, float],
    seconds: Mapping[str, float],
):
    """What runs cost, of the reference, first in `ends`, and the proxies; None where that of the reference is unknown.

    Entries are SIZE or SIZE@STEP, `ends` their sizes and steps, `shares` the parts of a run that were done by then, by
    which what is known of whole runs is counted.
    """
    from thresher.selection.statistics.further import Costs

    def amount(entry: str, size: str) -> float | None:
        if not given and entry in flops:
            return flops[entry]
        if entry in given and entry != size:
            return given[entry]
        whole = given.get(size) if given else _amount(size)
        return None if whole is None else whole * shares[entry]

    known = {entry: amount(entry, size) for entry, (size, _) in ends.items()}
    amounts = {entry: one for entry, one in known.items() if one}
    reference = next(iter(ends))
    if reference not in amounts:
        return None
    return Costs(reference=reference, amounts=amounts, in_flops=bool(given or flops), seconds=seconds)
