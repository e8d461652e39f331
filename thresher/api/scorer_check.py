"""What may be asked of which scorer, looked at before anything is loaded."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from thresher.errors import InputError, unknown
from thresher.scorers import CURVATURE, HOW, KERNEL, LOO, PROJECTING, SCORERS, TRAKER

log = logging.getLogger(__name__)
AUTO = "auto"
"""Chosen among trak, direction and ekfac by what is given and asked."""
PROJECTED = (AUTO, "trak")
BY_AUTO = SCORERS["trak"].takes | SCORERS["direction"].takes | SCORERS["ekfac"].takes - {CURVATURE, "rank"}
BY_SELF_INFLUENCE = SCORERS["trak"].takes - {"goal", "top", "views"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a scorer beyond the scores; what differs from its default here is given."""

    backend: str = "thresher"
    self_influence: bool = False
    damping: float | str | None = None
    curvature_damping: float | Mapping[str, float] | None = None
    q: str | None = None
    convention: str = "thresher"
    goal: str = "auto"
    top: int = 0
    per_token: int = 0
    k: int | None = None
    projection: str = "auto"
    views: tuple[str, ...] = ()
    output: str = "margin"
    parameters: str | None = None
    sample: int = 2000
    steps: int = 20
    window: int | None = None
    rank: int | None = None
    memory_gb: float = 4.0
    batch_tokens: int | None = None
    device: str = "auto"

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked that needs features: another package's scores, or a damping chosen on the pool."""
        return self.backend == "thresher" and self.convention == "thresher" and self.damping != "loo"

    @property
    def given(self) -> dict[str, str]:
        """Each option of scoring that is given -> how a message calls it. A plain mean is every scorer's goal."""
        others = ("self_influence", "device", *(("goal",) if self.goal == "selection" else ()))
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in others}
        named = {
            name: f"--{name.replace('_', '-')}" + (f" {value}" if isinstance(value, str) else "")
            for name, value in values.items()
            if value != getattr(type(self), name)
        }
        return named | ({LOO: "--damping loo"} if self.damping == "loo" else {})


def check_scorer(scorer: str, asked: Asked) -> None:
    """Raise InputError for a scorer that is unknown, and for what it cannot be asked."""
    if scorer not in (AUTO, *SCORERS):
        raise unknown("scorer", scorer, (AUTO, *SCORERS))
    if asked.backend not in ("thresher", "traker"):
        raise InputError(f"backend {asked.backend!r} is unknown; pass thresher or traker")
    what, takes = _taken(scorer, asked)
    if what != f"--scorer {scorer}" and scorer not in PROJECTED:
        raise _unfit(what, f"--scorer {scorer}")
    for name, option in asked.given.items():
        if name not in takes | HOW:
            raise _unfit(option, what, _advice(name, scorer))
    if asked.per_token and not asked.is_plain:
        raise _unfit("--per-token", what)
    if asked.backend == "traker" and asked.device not in ("auto", "cpu"):
        raise _unfit(f"--device {asked.device}", what)


def say_idle(scorers: Sequence[str], asked: Asked) -> None:
    """Warn of each option that has no effect on any of the scorers, and of those that cannot choose their damping."""
    taken = [_taken(scorer, asked) for scorer in scorers]
    names = ", ".join(what.removeprefix("--") for what, _ in taken)
    idle = (option for name, option in asked.given.items() if not any(name in takes for _, takes in taken))
    for option in dict.fromkeys(idle):
        log.warning("%s has no effect with %s", option, names)
    if asked.damping == LOO and any(LOO in takes for _, takes in taken):
        for what, takes in taken:
            if KERNEL in takes and LOO not in takes:
                log.warning("--damping loo has no effect with %s, which keeps its default", what.removeprefix("--"))


def say_unread(scorer: str, given: Mapping[str, bool]) -> None:
    """Warn of what is given and says only which models to read and where to keep what they say, if none is read."""
    if not {"models", "training"} & set(SCORERS[scorer].needs):
        for name in (name for name, is_given in given.items() if is_given):
            log.warning("--%s has no effect with scorer %s, which needs no model", name, scorer)


def check_features_given(pool: object, asked: Mapping[str, object]) -> None:
    """Raise InputError for what says which features to make, where `pool` holds some; warn of what says how."""
    usual = {name: getattr(Asked, name) for name in PROJECTING} | {"seed": 0, "models": None, "evidence": None}
    for name in sorted(name for name in usual.keys() & asked.keys() if asked[name] != usual[name]):
        value = asked[name] if name == "models" else repr(asked[name])
        about = f"{name}={value} is of features to be made, and {pool} holds some"
        if name not in HOW | {"seed", "evidence"}:
            raise InputError(f"{about}; leave it out")
        log.warning("%s; it has no effect", about)


def _taken(scorer: str, asked: Asked) -> tuple[str, frozenset[str]]:
    """What is to score, as a message calls it, and the options that it takes."""
    if asked.self_influence:
        return "--self-influence", BY_SELF_INFLUENCE
    if asked.backend == "traker":
        return "--backend traker", TRAKER | {"backend"}
    return f"--scorer {scorer}", BY_AUTO if scorer == AUTO else SCORERS[scorer].takes


def _unfit(option: str, what: str, advice: str = "leave one of them out") -> InputError:
    return InputError(f"{option} does not go with {what}; {advice}")


def _advice(name: str, scorer: str) -> str:
    own = SCORERS[scorer].damping if scorer in SCORERS else None
    if name.endswith("damping") and own:
        return f"its own is --{own.replace('_', '-')}"
    if name == "per_token" and scorer in SCORERS:
        return f"tokens share out the scores of {', '.join(n for n, s in SCORERS.items() if s.is_along)}"
    return "leave one of them out"
