"""What may be asked of which scorer, looked at before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass

from thresher.errors import InputError, unknown
from thresher.scorers import CURVATURE, KERNEL, SCORERS

AUTO = "auto"
"""Chosen among trak, direction and ekfac by what is given and asked."""
PROJECTED = (AUTO, "trak")


@dataclass(frozen=True)
class Asked:
    """What is asked of a scorer beyond the scores."""

    backend: str = "thresher"
    damping: float | str | None = None
    curvature_damping: float | Mapping[str, float] | None = None
    convention: str = "thresher"
    top: int = 0
    per_token: int = 0
    rank: int | None = None
    views: tuple[str, ...] = ()
    self_influence: bool = False
    goal: str = "auto"
    output: str = "margin"
    parameters: str | None = None
    batch_tokens: int | None = None
    device: str = "auto"

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked that needs features: another package's scores, or a damping chosen on the pool."""
        return self.backend == "thresher" and self.convention == "thresher" and self.damping != "loo"


def check_scorer(scorer: str, asked: Asked) -> None:
    """Raise InputError for a scorer that is unknown, and for what does not go with it."""
    if scorer not in (AUTO, *SCORERS):
        raise unknown("scorer", scorer, (AUTO, *SCORERS))
    if asked.backend not in ("thresher", "traker"):
        raise InputError(f"backend {asked.backend!r} is unknown; pass thresher or traker")
    if asked.backend == "traker":
        _check_traker(asked)
    damped_by = KERNEL if scorer == AUTO else SCORERS[scorer].damping
    is_along = scorer == AUTO or SCORERS[scorer].is_along
    is_read = scorer == AUTO or ("models" in SCORERS[scorer].needs and scorer != "embedding")
    is_projected, alone = scorer in PROJECTED, asked.self_influence
    unfit = {
        f"--backend {asked.backend}": asked.backend != "thresher" and (not is_projected or alone),
        "--self-influence": alone and not is_projected,
        "--damping loo": asked.damping == "loo" and scorer not in (*PROJECTED, "trackstar"),
        "--damping": asked.damping is not None and damped_by != KERNEL,
        "--curvature-damping": asked.curvature_damping is not None and damped_by != CURVATURE,
        "--views": len(asked.views) > 0 and (asked.backend != "thresher" or alone or not is_read),
        "--rank": asked.rank is not None and damped_by != CURVATURE,
        f"--convention {asked.convention}": asked.convention != "thresher" and not is_projected,
        "--per-token": asked.per_token != 0 and (alone or not is_along or not asked.is_plain),
        "--top": asked.top != 0 and (alone or scorer not in (*PROJECTED, "dual")),
    }
    for option, is_unfit in unfit.items():
        if is_unfit:
            what = "--self-influence" if alone and option != "--self-influence" else f"--scorer {scorer}"
            advice = "leave one of them out"
            if option == "--per-token" and not is_along:
                advice = f"tokens share out the scores of {', '.join(n for n, s in SCORERS.items() if s.is_along)}"
            if option == "--damping" and damped_by:
                advice = f"its own is --{damped_by.replace('_', '-')}"
            raise InputError(f"{option} does not go with {what}; {advice}")


def _check_traker(asked: Asked) -> None:
    """Refuse what the traker package has no word for: it would give other scores than were asked."""
    unfit = {
        "--damping loo": asked.damping == "loo",
        f"--convention {asked.convention}": asked.convention == "dattri",
        "--goal labels": asked.goal == "labels",
        f"--output {asked.output}": asked.output != "margin",
        "--parameters": asked.parameters is not None,
        "--batch-tokens": asked.batch_tokens is not None,
        "--top": asked.top != 0,
        f"--device {asked.device}": asked.device not in ("auto", "cpu"),
    }
    for option, is_unfit in unfit.items():
        if is_unfit:
            raise InputError(f"{option} does not go with --backend traker; leave one of them out")
