"""A selection's card: what was selected, how, at what cost, what it looks like. Markdown and one HTML page."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thresher.artifacts import is_artifact, open_artifact
from thresher.data.examples import Examples, TokenExamples
from thresher.selection.selection import Selection
from thresher.shown import PROSE, shown
from thresher.studies.report.templates import template
from thresher.studies.selections.sources import Sources

NUM_SHOWN = 5
EXCERPT = 400


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How much of this selection another one of the same pool keeps too."""

    name: str
    shared: int
    share: float
    """Of this selection's examples."""
    by_chance: float
    """What that share would be for a random selection of the other's size."""


def card_of(selection: Selection, sources: Sources, others: Mapping[str, Selection], rows: str) -> dict[str, str]:
    """`card.md` and `card.html`; `rows` says what the exported rows are."""
    meta, facts = selection.artifact.meta, selection.artifact.facts
    content = {
        "method": meta["config"]["method"],
        "facts": facts,
        "num_pool": facts["num_unique"] + facts["num_dropped"],
        "settings": _settings(selection, sources),
        "costs": _costs(selection, sources),
        "overlaps": [_overlap(name, selection, other) for name, other in others.items()],
        "top": _examples(selection, sources, best=True),
        "bottom": _examples(selection, sources, best=False),
        "rows": rows,
    }
    filters = {"quoted": _quoted, "md": _markdown}
    return {
        name: template(name, escape=name.endswith("html"), **filters).render(content)
        for name in ("card.md", "card.html")
    }


def _settings(selection: Selection, sources: Sources) -> dict[str, str]:
    meta = selection.artifact.meta
    config = {name: value for name, value in meta["config"].items() if value not in (None, [], {})}
    targets = list(sources.only or sources.targets)
    named = {
        "Method": config.pop("method"),
        "Targets": ", ".join(targets),
        "Seed": str(meta["seed"]),
        **{name.capitalize(): str(value) for name, value in config.items() if name != "targets"},
        **{f"Content hash, {name}": value[:16] for name, value in meta["inputs"].items()},
        "Made": meta["created"],
        "With": ", ".join(f"{name} {version}" for name, version in meta["libraries"].items() if version),
    }
    return {name: value for name, value in named.items() if value}


def _costs(selection: Selection, sources: Sources) -> list[tuple[str, float | None, float | None]]:
    """(what, seconds, FLOPs where they are known)."""
    given: dict[str, Any] = {"scores": sources.scores, "features": sources.features and sources.features.artifact}
    given |= {f"features of {name}": store.artifact for name, store in sources.target_features.items()}
    given |= {f"proxy {m}": open_artifact(Path(p)) for m, p in enumerate(sources.models) if is_artifact(Path(p))}
    rows = [(name, one.facts["seconds"], one.facts.get("flops")) for name, one in given.items() if one is not None]
    return [*rows, ("selecting, and what it had to make", selection.artifact.facts["seconds"], None)]


def _overlap(name: str, selection: Selection, other: Selection) -> Overlap:
    own, its = set(selection.kept["id"].to_pylist()), set(other.kept["id"].to_pylist())
    num_pool = len(its) + other.dropped.num_rows
    return Overlap(name=name, shared=len(own & its), share=len(own & its) / len(own), by_chance=len(its) / num_pool)


def _examples(selection: Selection, sources: Sources, *, best: bool) -> Sequence[Mapping[str, Any]]:
    """The first examples that were kept, or the last of all that the method measured."""
    table = selection.kept if best else selection.dropped
    order = np.arange(len(table)) if best else np.arange(len(table))[::-1]
    scores = table["score"].to_numpy()
    chosen: dict[int, int] = {}
    for row in order.tolist():
        if best or np.isfinite(scores[row]):
            chosen.setdefault(table["position"][row].as_py(), row)
        if len(chosen) == NUM_SHOWN:
            break
    return [
        {
            **{name: table[name][row].as_py() for name in ("id", "domain", "score", "rank")},
            "text": _excerpt(sources.pool, position),
        }
        for position, row in chosen.items()
    ]


def _excerpt(pool: Examples | None, position: int) -> str:
    """The beginning of a document as it was written."""
    if pool is None:
        return ""
    text = pool.texts([position])[0] if isinstance(pool, TokenExamples) else pool.preview(position)
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]} ..."


def _quoted(text: str) -> str:
    """A block that Markdown shows as it stands: each of its lines, whatever may end one, is indented."""
    return "\n".join(f"    {shown(line, keep=PROSE)}" for line in text.splitlines())


def _markdown(text: object) -> str:
    """`text` on one line, with nothing that Markdown, or the HTML in it, would take for its own."""
    line = " ".join(shown(str(text), keep=PROSE).split())
    escaped = re.sub(r"([\\`*_{}\[\]#!|~])", r"\\\1", line)
    return html.escape(escaped, quote=False)
