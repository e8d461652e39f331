"""What the mixture commands share: the options of a proposal, and how they become a goal and constraints."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thresher.choices import Executor, Optimizer
from thresher.cli.arguments import dashed
from thresher.cli.command import Command, named_numbers, named_paths
from thresher.cli.following import opening
from thresher.cli.lines import proposal_lines
from thresher.cli.options import ModelOptions
from thresher.errors import InputError
from thresher.idle import Idle
from thresher.places import published

if TYPE_CHECKING:
    from thresher.selection.mixture.constraints import Constraints
    from thresher.selection.mixture.goal import Goal
    from thresher.studies.mixtures.runs import Bench


BY_TOKENS = Idle(replaced={"examples": ("tokens",)})
"""Of actions whose runs train on so many tokens, or on what so many examples hold."""


@dataclass(frozen=True, kw_only=True)
class Proposing(Command):
    """The options of every action that ends in a mixture. Lists are NAME=NUMBER NAME=NUMBER."""

    target_weights: tuple[str, ...] = ()
    """TARGET=WEIGHT of each target that counts; none: all, equally."""
    worst_case: bool = False
    """Make the largest (weighted) excess over the natural mixture small, instead of the mean loss."""
    budget: float | None = None
    """Tokens to train on: caps each domain at supply x repeats / budget, and is what AutoScale extrapolates to."""
    max_repeats: tuple[str, ...] = ()
    """How often a domain may be repeated: one NUMBER for all, or DOMAIN=NUMBER (the others once)."""
    floors: tuple[str, ...] = ()
    """DOMAIN=SHARE that it gets at least."""
    ceilings: tuple[str, ...] = ()
    """DOMAIN=SHARE that it gets at most."""
    prior: tuple[str, ...] = ()
    """DOMAIN=SHARE of the mixture to stay near; none: natural where supplies are known, else uniform."""
    kl_weight: float = 0.0
    """Adds this times KL(mixture || prior) to the loss."""
    max_kl: float | None = None
    """A hard limit on KL(mixture || prior), in nats."""
    resamples: int = 200
    """Bootstrap refits; 0: no intervals."""
    seed: int = 0

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """Look at the report, where there is one."""
        return opening(result["report"]) if "report" in result else None

    def show(self, result: Mapping[str, Any]) -> str:
        """The proposal as lines for a person."""
        return "\n".join(proposal_lines(result))

    def goal(self, targets: Sequence[str]) -> "Goal":
        """The goal over `targets`."""
        from thresher.selection.mixture.goal import make_goal

        weights = named_numbers(self.target_weights, "--target-weights") or None
        return make_goal(targets, weights, worst_case=self.worst_case)

    def bounds(self) -> dict[str, Any]:
        """What the options say of single domains, as `make_constraints` takes it."""
        return {
            "max_repeats": _repeats(self.max_repeats),
            "floors": named_numbers(self.floors, "--floors"),
            "ceilings": named_numbers(self.ceilings, "--ceilings"),
            "prior": named_numbers(self.prior, "--prior") or None,
        }

    def constraints(
        self,
        domains: Sequence[str],
        tokens: Mapping[str, float] | None,
        *,
        capped: bool = True,
        bounds: Mapping[str, Any] | None = None,
    ) -> "Constraints":
        """The constraints over `domains`; `tokens` is the supply. Without `capped` the budget caps nothing.

        `bounds` stand in the place of the options' own.
        """
        from thresher.selection.mixture.constraints import make_constraints

        budget = self.budget if capped and tokens is not None else None
        if self.max_repeats and (self.budget is None or tokens is None):
            raise InputError("--max-repeats needs --budget and the domains' token counts; give them, or leave it out")
        return make_constraints(
            domains,
            tokens=tokens,
            budget=budget,
            **(self.bounds() if bounds is None else bounds),
            kl_weight=self.kl_weight,
            max_kl=self.max_kl,
        )

    def checked_resamples(self) -> int:
        """The number of bootstrap refits. Raises InputError if it is below 0."""
        if self.resamples < 0:
            raise InputError(f"--resamples {self.resamples}; give 0 (no intervals) or more")
        return self.resamples


@dataclass(frozen=True, kw_only=True)
class Training(ModelOptions):
    """The options of every action that trains models on mixtures and measures them on targets."""

    pool: Path
    """A prepared pool with domains, from `thresher prepare --domain`."""
    targets: tuple[str, ...]
    """NAME=PREPARED of each target: what the losses are measured on."""
    model: str
    """Parameters, or a model's name."""
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: Optimizer | None = None
    workers: int | None = None
    """Runs trained at once; none: one a core, or one on a GPU."""
    executor: Executor = "processes"
    """Where runs are done: processes (of this machine), or ray (a cluster, see docs/training.md)."""
    device: str = "auto"

    def bench(self, out: Path) -> "Bench":
        """What all runs share, with their artefacts under `out`."""
        from thresher.studies.mixtures.runs import Bench

        model = self.model_settings(self.model, epochs=1.0)
        return Bench(self.pool, named_paths(self.targets, "--targets"), model, out, self.device, self.executor)


def _repeats(entries: Sequence[str]) -> float | dict[str, float]:
    if len(entries) == 1 and "=" not in entries[0]:
        try:
            return float(entries[0])
        except ValueError:
            raise InputError(f"--max-repeats {entries[0]!r} is no number; give one, or DOMAIN=NUMBER") from None
    return named_numbers(entries, "--max-repeats") if entries else 1.0


POSITIONAL = ("files", "domains")
NOT_REPLAYED = ("json", "quiet", "verbose", "log", "device", "workers", "executor")
"""Options that change nothing of what comes out."""


def command_line(action: str, command: Command) -> str:
    """The line that replays `command` from the current folder: every option that differs from its default."""
    parts = ["thresher", "mix", action]
    # What has no name goes first: an option with several values would take it for one of them.
    for field in sorted(fields(command), key=lambda field: field.name not in POSITIONAL):
        value = getattr(command, field.name)
        if value == field.default or field.name in NOT_REPLAYED:
            continue
        name = dashed(field.name)
        if isinstance(value, bool):
            parts.append(f"--{name}" if value else f"--no-{name}")
            continue
        parts += [] if field.name in POSITIONAL else [f"--{name}"]
        parts += [_published(item) for item in (value if isinstance(value, tuple) else (value,))]
    # A ~ is for the shell, which takes it only where it is not quoted.
    return " ".join(f"~/{shlex.quote(part[2:])}" if part.startswith("~/") else shlex.quote(part) for part in parts)


def _published(value: Any) -> str:
    """An option's value; a whole path, alone or after NAME=, as it is reached from the current folder."""
    name, equals, path = str(value).rpartition("=")
    whole = isinstance(value, str | Path) and Path(path).is_absolute()
    return name + equals + published(path, Path.cwd()) if whole else str(value)
