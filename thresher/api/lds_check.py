"""What of an LDS can be refused before anything is trained: options that do nothing, names that are none or two."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from thresher.data.examples import Examples
from thresher.errors import InputError, unknown
from thresher.studies.experiments.lds import given_scores
from thresher.studies.scoring.pairs import check_scorers

BASELINE, TOP = "random", 100
"""The defaults of options that belong to one way of asking; what differs from them is given."""


def check_ladder(
    *, scorers: Sequence[str], given: Mapping[str, Path], checkpoint_fraction: float, baseline: str
) -> None:
    """Raise InputError for options that a comparison of sizes has no use for."""
    if scorers or given:
        raise InputError("--ladder judges TRAK at every size; leave --scorers and --scores out")
    if checkpoint_fraction != 1:
        raise InputError("--ladder attributes with models on the whole pool; leave --checkpoint-fraction out")
    if baseline != BASELINE:
        raise InputError(f"--ladder compares sizes with the reference; leave --baseline {baseline} out")


def check_judged(
    names: Sequence[str],
    given: Mapping[str, Path],
    *,
    pool: Examples,
    target: Examples,
    baseline: str,
    own: bool,
    top: int,
) -> str | None:
    """The scorer that differences are to, None where the usual one is not among those that are judged.

    Raises InputError for options of ladders, a name that is none or is two things, and scores that cannot be read or do
    not fit.
    """
    for option in [*([] if own else ["--no-own"]), *([] if top == TOP else [f"--top {top}"])]:
        raise InputError(f"{option} is for comparing sizes; leave it out, or pass --ladder SIZES")
    check_scorers(names, pool)
    for name, path in given.items():
        if name in names:
            raise InputError(
                f"--scores {name}={path} has the name of a scorer that is judged too; give it another name"
            )
    judged = (*names, *given)
    if baseline != BASELINE and baseline not in judged:
        raise unknown("baseline", baseline, judged)
    for path in given.values():
        given_scores(path, len(pool), len(target))
    return baseline if baseline in judged else None
