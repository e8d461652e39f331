"""The page of a proposed mixture, from its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from thresher import __version__
from thresher.places import own_file
from thresher.studies.report import charts
from thresher.studies.report.templates import template


def write_mixture_report(result: Mapping[str, Any], out: Path, *, command: str) -> None:
    """A page that needs nothing else, of a proposal as `thresher mix` prints it."""
    with own_file(Path(out)) as file:
        file.write_text(render_mixture(result, command=command), encoding="utf-8")


def render_mixture(result: Mapping[str, Any], *, command: str) -> str:
    """The page as HTML; `command` is the line that replays the result."""
    known = {name: result.get(name) for name in _OPTIONAL}
    chart = charts.mixture(result["weights"], known["weight_intervals"], known["baselines"])
    return template("mixture.html").render(
        result={**known, **result}, chart=Markup(chart), command=command, version=__version__
    )


_OPTIONAL = (
    "weight_intervals",
    "baselines",
    "indistinguishable",
    "predicted_losses",
    "loss_intervals",
    "run_deviation",
    "gains",
    "baseline_objectives",
    "held_out",
    "num_folds",
    "test",
    "next_runs",
    "warnings",
    "repairs",
    "budget",
    "fitted_budget",
    "t",
    "mode",
    "num_runs",
    "num_resamples",
    "seed",
    "num_trained",
    "flops",
    "stability",
)
