"""The page, from a report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from markupsafe import Markup

from thresher import __version__
from thresher.errors import InputError
from thresher.places import check_file_place, own_file, read_json, write_json
from thresher.studies.report import charts
from thresher.studies.report.content import Choice, Report, Trust
from thresher.studies.report.results import Row, rows_of, verdict
from thresher.studies.report.templates import template

EXCERPT = 240


def render(report: Report) -> str:
    """One HTML page that needs nothing else: styles, charts and images are inside."""
    results = report.results
    rows = rows_of(results.runs, results) if results else []
    off_target = rows_of(results.off_target, results) if results else []
    drawn = {
        "forest": charts.forest(rows, results.baseline) if results else None,
        "curve": charts.learning_curve([asdict(point) for point in results.curve])
        if results and results.curve
        else None,
        "domains": charts.domains(report.choice.domain_shares) if report.choice else None,
        "trust": _sizes(report.trust) if report.trust else None,
        "histogram": charts.histogram(report.choice.histogram) if report.choice and report.choice.histogram else None,
    }
    _check_images(report.choice)
    return template("page.html", excerpt=excerpt, by_task=by_task, seeds=seeds_in_words).render(
        report=report,
        verdict=verdict(report),
        rows=rows,
        off_target=off_target,
        charts={name: svg and Markup(svg) for name, svg in drawn.items()},
        most_domains=charts.MOST_DOMAINS,
        version=__version__,
    )


def _sizes(trust: Trust) -> str:
    return charts.scatter([asdict(row) for row in trust.losses], trust.size, trust.reference)


def write_report(report: Report, out: Path) -> None:
    """The page at `out` and, beside it with the suffix .json, what `read_report` reads back."""
    page = render(report)
    out = Path(out)
    for place in (out, out.with_suffix(".json")):
        check_file_place(place)
    write_json(asdict(report), out.with_suffix(".json"))
    with own_file(out) as file:
        file.write_text(page, encoding="utf-8")


def read_report(path: Path) -> Report:
    """The report that `write_report` left in a JSON file."""
    try:
        return _revive(Report, read_json(Path(path)))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the .json file beside a report's page") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, IsADirectoryError):
        raise InputError(
            f"{path} is not a report's .json file, or was changed; give the one that was written beside the page, or "
            "run the study again"
        ) from None


def excerpt(text: str) -> str | None:
    """The beginning of a long text, cut between words; None for one that is short enough as it is."""
    if len(text) <= EXCERPT:
        return None
    return " ".join([*text[:EXCERPT].rsplit(maxsplit=1)[:1], "…"])


def by_task(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows of the results table, task by task, in their order."""
    tasks = dict.fromkeys(row.task for row in rows)
    return [(task, [row for row in rows if row.task == task]) for task in tasks]


def seeds_in_words(rows: Sequence[Row]) -> str:
    """The seeds of all runs, "0, 1, 2"."""
    return ", ".join(map(str, sorted({seed for row in rows for seed in row.seeds}))) or "none"


def _check_images(choice: Choice | None) -> None:
    for example in [*choice.top, *choice.bottom] if choice else []:
        if example.image is not None and not example.image.startswith("data:image/"):
            raise InputError(
                f"image {example.image[:40]!r} is not in the page itself; give a data:image/png;base64, URI"
            )


def _revive(kind: Any, value: Any) -> Any:
    """`value`, plain JSON, as `kind`: a dataclass, a container of them, or itself."""
    arguments = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return None if value is None else _revive(next(part for part in arguments if part is not type(None)), value)
    if kind is float and value is None:
        return math.nan
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return cast(Any, kind)(**{name: _revive(hints[name], item) for name, item in value.items()})
    if get_origin(kind) in (list, Sequence):
        return [_revive(arguments[0], item) for item in value]
    if get_origin(kind) is Mapping:
        return {key: _revive(arguments[1], item) for key, item in value.items()}
    return value
