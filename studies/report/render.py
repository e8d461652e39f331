"""The page, from a report."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from markupsafe import Markup

from thresher import __version__
from thresher.errors import InputError
from thresher.places import check_file_place, own_file, read_json, write_json
from thresher.studies.report import charts, story
from thresher.studies.report.content import Choice, Report
from thresher.studies.report.results import Row, rows_of, verdict
from thresher.studies.report.templates import template

EXCERPT = 240


def render(report: Report) -> str:
    """One HTML page that needs nothing else: styles, charts and images are inside."""
    results = report.results
    rows = rows_of(results.runs, results) if results else []
    off_target = rows_of(results.off_target, results) if results else []
    _check_images(report.choice)
    return template("page.html", excerpt=excerpt, by_task=by_task, seeds=seeds_in_words).render(
        report=report,
        verdict=verdict(report),
        figures=story.figures(report),
        safety=story.safety(report),
        how=story.how(report),
        glossary=story.GLOSSARY,
        rows=rows,
        off_target=off_target,
        charts=_charts(report, rows),
        most_domains=charts.MOST_DOMAINS,
        version=__version__,
    )


def _charts(report: Report, rows: Sequence[Row]) -> dict[str, Markup | None]:
    """Every chart twice, for a wide page and for a phone, of which the page shows one."""
    results, choice, trust = report.results, report.choice, report.trust
    curve = [asdict(point) for point in results.curve] if results else []
    losses = [asdict(row) for row in trust.losses] if trust else []

    def both(draw: Callable[[float], str | None]) -> Markup | None:
        wide, narrow = draw(charts.WIDE), draw(charts.NARROW)
        if wide is None or narrow is None:
            return None
        return Markup(f'<div class="at-wide">{wide}</div>\n<div class="at-narrow">{narrow}</div>')

    return {
        "forest": both(lambda width: charts.forest(rows, results.baseline, width) if results else None),
        "curve": both(lambda width: charts.learning_curve(curve, width) if curve else None),
        "domains": both(lambda width: charts.domains(choice.domain_shares, choice.unit, width) if choice else None),
        "trust": both(lambda width: charts.scatter(losses, trust.size, trust.reference, width) if trust else None),
        "histogram": both(
            lambda width: charts.histogram(choice.histogram, width) if choice and choice.histogram else None
        ),
    }


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
    """The beginning of a long text, white space as it is, cut between words; None for one that is short enough."""
    if len(text) <= EXCERPT:
        return None
    head = text[:EXCERPT]
    return head[: cut.start()] + " …" if (cut := re.search(r"\s+\S*$", head)) else head + " …"


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
