"""What the mixture commands share: the options of a proposal, and how they become a goal and constraints."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from thresher.cli.command import Command, named_numbers, named_paths
from thresher.cli.options import ModelOptions
from thresher.errors import InputError

if TYPE_CHECKING:
    from thresher.studies.mixtures.runs import Bench


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

    def goal(self, targets: Sequence[str]):
        from thresher.selection.mixture.goal import make_goal

        weights = named_numbers(self.target_weights, "--target-weights") or None
        return make_goal(targets, weights, worst_case=self.worst_case)

    def constraints(self, domains: Sequence[str], tokens: Mapping[str, float] | None, *, capped: bool = True):
        """The constraints over `domains`; `tokens` is the supply. Without `capped` the budget caps nothing."""
        from thresher.selection.mixture.constraints import make_constraints

        budget = self.budget if capped and tokens is not None else None
        if self.max_repeats and (self.budget is None or tokens is None):
            raise InputError("--max-repeats needs --budget and the domains' token counts; give them, or leave it out")
        return make_constraints(
            domains,
            tokens=tokens,
            budget=budget,
            max_repeats=_repeats(self.max_repeats),
            floors=named_numbers(self.floors, "--floors"),
            ceilings=named_numbers(self.ceilings, "--ceilings"),
            prior=named_numbers(self.prior, "--prior") or None,
            kl_weight=self.kl_weight,
            max_kl=self.max_kl,
        )

    def checked_resamples(self) -> int:
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
    optimizer: str | None = None
    workers: int | None = None
    """Runs trained at once; none: one a core, or one on a GPU."""
    executor: str = "processes"
    """Where runs are done: processes (of this machine), or ray (a cluster, see docs/training.md)."""
    device: str = "auto"

    def bench(self, out: Path) -> "Bench":
        from thresher.proxies.settings import ModelSettings
        from thresher.studies.mixtures.runs import Bench

        table = ModelSettings(
            size=self.model,
            epochs=1.0,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            **self.model_options(),
        )
        return Bench(self.pool, named_paths(self.targets, "--targets"), table, out, self.device, self.executor)


def _repeats(entries: Sequence[str]) -> float | dict[str, float]:
    if len(entries) == 1 and "=" not in entries[0]:
        try:
            return float(entries[0])
        except ValueError:
            raise InputError(f"--max-repeats {entries[0]!r} is no number; give one, or DOMAIN=NUMBER") from None
    return named_numbers(entries, "--max-repeats") if entries else 1.0


def command_line(action: str, command: Command) -> str:
    """The line that replays `command`: every option that differs from its default."""
    parts = ["thresher", "mix", action]
    # What has no name goes first: an option with several values would take it for one of them.
    for field in sorted(fields(command), key=lambda field: field.name not in POSITIONAL):
        value = getattr(command, field.name)
        if value == field.default or field.name in ("json", "quiet", "device", "workers", "executor"):
            continue
        values = [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
        option = [] if field.name in POSITIONAL else [f"--{field.name.replace('_', '-')}"]
        parts += option + ([] if value is True else values)
    return shlex.join(parts)


POSITIONAL = ("files", "domains")


def write_result(result: dict, out: Path, *, command: str) -> dict:
    """`mixture.json` and `report.html` in the folder `out`; returns the result with the report's place."""
    import json

    from thresher.artifacts import atomic_file
    from thresher.studies.report.mixture_page import write_mixture_report

    result = {**result, "command": command, "report": str((out / "report.html").resolve())}
    with atomic_file(out / "mixture.json") as file:
        file.write_text(json.dumps(result, indent=1), encoding="utf-8")
    write_mixture_report(result, out / "report.html", command=command)
    return result


def show_proposal(result: Mapping) -> str:
    """The mixture, what it promises and what to beware of, for a terminal."""
    intervals = result.get("weight_intervals") or {}
    natural = (result.get("baselines") or {}).get("natural", {})
    wide = max(map(len, result["weights"]))
    lines = [
        f"{'domain':<{wide}}  weight" + ("  [95 %]         " if intervals else "") + ("  natural" if natural else "")
    ]
    for domain, weight in sorted(result["weights"].items(), key=lambda item: -item[1]):
        span = "  [{:.3f}, {:.3f}]".format(*intervals[domain]) if intervals else ""
        base = f"  {natural[domain]:.3f}" if natural else ""
        lines.append(f"{domain:<{wide}}  {weight:.3f} {span}{base}")
    for target, loss in (result.get("predicted_losses") or {}).items():
        span = (result.get("loss_intervals") or {}).get(target)
        lines.append(f"predicted {target}: {loss:.4f}" + (" [{:.4f}, {:.4f}]".format(*span) if span else ""))
    for name, gain in (result.get("gains") or {}).items():
        lines.append(f"predicted gain over {name}: {gain['mean']:.4f} [{gain['low']:.4f}, {gain['high']:.4f}]")
    for part in ("held_out", "test"):
        for target, row in (result.get(part) or {}).items():
            errors = ", ".join(f"{name} {value:.4f}" for name, value in row.items() if name != "num_runs")
            lines.append(f"{part.replace('_', '-')} {target}: {errors}")
    for row in result.get("next_runs") or []:
        lines.append("run next: " + ", ".join(f"{d} {share:.3f}" for d, share in row.items() if share >= 0.0005))
    lines += [f"warning: {warning}" for warning in result.get("warnings", [])]
    lines += [f"repaired: {repair}" for repair in result.get("repairs", [])]
    if "report" in result:
        lines.append(f"report: {result['report']}")
    return "\n".join(lines)
