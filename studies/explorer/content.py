"""The data of an explorer's page: what is known of every example, and as many whole documents as there is room for.

The page is read by `page/data.js`; the names here are the names there. Pool examples are called by their rows in the
page, which are their positions in the pool unless the pool is too large for one page.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thresher import __version__
from thresher.data.examples import Examples, Labelled
from thresher.selection.combination import combine
from thresher.studies.explorer.documents import copies_of
from thresher.studies.explorer.ends import Ends, TargetPairs, Together
from thresher.studies.explorer.packing import packed
from thresher.studies.explorer.pairs import pairs_of
from thresher.studies.explorer.predictions import Predictions, predict
from thresher.studies.explorer.room import Room, fill
from thresher.studies.explorer.subject import SELF, Subject

ALL = "all targets"
POINTS = 200
"""Places at which the threshold's curve is known where not every example is in the page."""


def content_of(subject: Subject, limit: int | None = None) -> dict[str, Any]:
    """The data of a page of at most `limit` bytes, about; None: everything but the documents, which are then served.

    What is left out for want of room is said in `missing`: the first to go are whole documents in the middle.
    """
    table, pool = subject.table, subject.pool
    columns = columns_of(subject)
    pairs, together = pairs_of(subject)
    room = fill(subject, columns, pairs, limit)
    rows, place = room.rows, np.full(len(pool) + 1, -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    kept = None if subject.selection is None else np.isin(np.arange(len(pool)), subject.selection.positions)
    copies = copies_of(pool)
    lengths = table.lengths if table.lengths is not None else pool.lengths()
    predictions = predict(subject.models, pool, rows, device=subject.device, progress=subject.progress)
    return {
        "title": subject.title,
        "version": __version__,
        "about": _about(subject, room, bool(together)),
        # A selection is made from scores for whole targets, not from a matrix of pairs.
        "commands": {k: v for k, v in subject.commands.items() if k != "select" or not subject.is_matrix},
        "classes": _classes(subject),
        "pool": {
            "size": len(pool),
            "position": None if len(rows) == len(pool) else packed(rows, "i"),
            "ids": [str(table.ids[row]) for row in rows],
            **_domains(np.asarray(table.domains)[rows]),
            "lengths": packed(lengths[rows], "i"),
            "kept": None if kept is None else packed(kept[rows], "u"),
            "first": None if copies is None else packed(_folded(copies, rows), "i"),
            **_labels(pool, rows, predictions),
            "documents": room.documents,
        },
        "columns": [
            _column(name, values, rows, together.get(name), subject, lengths) for name, values in columns.items()
        ],
        "targets": [
            _target(name, target, room, pairs.get(name), place, subject) for name, target in subject.targets.items()
        ],
    }


def columns_of(subject: Subject) -> dict[str, Float[np.ndarray, "n"]]:
    """The scores for each target; of several also for all of them, each normalised, then averaged, as dsdm does."""
    by_target = dict(subject.table.by_target)
    usable = {name: values for name, values in by_target.items() if values.min() != values.max()}
    if len(by_target) > 1 and len(usable) == len(by_target) and ALL not in by_target:
        return {ALL: combine(usable), **by_target}
    return by_target


def _about(subject: Subject, room: Room, has_spread: bool) -> dict[str, Any]:
    return {
        "scorer": subject.scorer,
        "proxies": subject.num_proxies,
        "unit": "images" if not hasattr(subject.pool, "stream") else "tokens",
        "models": len(subject.models),
        "spread": has_spread,
        "missing": room.missing,
        "lds": _lds(subject),
        "selection": None if subject.selection is None else str(subject.selection.artifact.meta["config"]["method"]),
    }


def _lds(subject: Subject) -> list[dict[str, Any]]:
    """LDS of this setting's scorer where it was measured, else of all scorers that were."""
    if subject.lds is None:
        return []
    facts = subject.lds.facts
    rows = [
        {"scorer": name, "subsets": facts["num_subsets"], "targets": facts["num_targets"]}
        | {"value": float(row["lds"]["mean"]), "low": float(row["lds"]["low"]), "high": float(row["lds"]["high"])}
        for name, row in facts["table"].items()
    ]
    return [row for row in rows if row["scorer"] == subject.scorer] or rows


def _classes(subject: Subject) -> list[str]:
    known = [one for one in (subject.pool, *subject.targets.values()) if isinstance(one, Labelled)]
    return max((list(one.classes) for one in known), key=len, default=[])


def _domains(domains: np.ndarray) -> dict[str, Any]:
    names, codes = np.unique(domains.astype(str), return_inverse=True)
    return {"domains": names.tolist(), "domain": packed(codes, "i")}


def _labels(examples: Examples, rows: np.ndarray, predictions: Predictions | None) -> dict[str, Any]:
    labels = packed(examples.labels[rows], "i") if isinstance(examples, Labelled) else None
    if predictions is None:
        return {"labels": labels, "predicted": None, "confidence": None, "given": None}
    return {
        "labels": labels,
        "predicted": packed(predictions.predicted, "i"),
        "confidence": packed(predictions.confidence, "f"),
        "given": packed(predictions.given, "f"),
    }


def _folded(copies: Int[np.ndarray, "n"], rows: np.ndarray) -> np.ndarray:
    """For each row of the page the first one that is the same."""
    _, first, group = np.unique(copies[rows], return_index=True, return_inverse=True)
    return first[group]


def _column(
    name: str,
    values: Float[np.ndarray, "n"],
    rows: np.ndarray,
    together: Together | None,
    subject: Subject,
    lengths: Int[np.ndarray, "n"],
) -> dict[str, Any]:
    order = np.argsort(-values, kind="stable")
    ends = np.unique(np.linspace(0, len(values), POINTS + 1).astype(np.int64))[1:]
    tokens = np.cumsum(lengths[order].astype(np.float64))
    return {
        "name": name,
        "kind": "self" if name == SELF else "all" if name == ALL else "target",
        "scores": packed(values[rows], "f"),
        "spread": None if together is None else packed(together.spread[rows], "f"),
        "agreeing": None if together is None else packed(together.agreeing[rows], "u"),
        "curve": [[int(end), float(tokens[end - 1]), float(values[order[end - 1]])] for end in ends],
        "examples": len(subject.targets[name]) if name in subject.targets else None,
    }


def _target(
    name: str, target: Examples, room: Room, pairs: TargetPairs | None, place: np.ndarray, subject: Subject
) -> dict[str, Any]:
    shown = room.targets[name]
    rows = np.arange(shown.count)
    return {
        "name": name,
        "size": len(target),
        "ids": [str(id) for id in list(target.ids)[: shown.count]],
        **_labels(target, rows, predict(subject.models, target, rows, device=subject.device)),
        "documents": shown.documents,
        "forward": None if pairs is None else _ends(pairs.forward, shown.count, room.top, place),
        "back": None if pairs is None or pairs.back is None else _back(pairs.back, room, shown.count),
    }


def _ends(ends: Ends, count: int, top: int, place: np.ndarray) -> dict[str, Any]:
    """The first `top` of each side, of the first `count` queries."""
    return _packed_ends(ends, np.arange(min(count, len(ends.places))), _both_sides(ends, top), place)


def _back(ends: Ends, room: Room, count: int) -> dict[str, Any]:
    """Of the pool examples in the page; target examples beyond the first `count` are not in it."""
    size = max(int(ends.places.max(initial=-1)) + 1, count)
    place = np.append(np.where(np.arange(size) < count, np.arange(size), -1), -1)
    return _packed_ends(ends, room.rows, _both_sides(ends, room.back), place)


def _both_sides(ends: Ends, most: int) -> np.ndarray:
    one = np.arange(min(most, ends.k))
    return np.concatenate([one, ends.k + one])


def _packed_ends(ends: Ends, rows: np.ndarray, columns: np.ndarray, place: np.ndarray) -> dict[str, Any]:
    grid = np.ix_(rows, columns)
    block: Mapping[str, np.ndarray | None] = ends.block._asdict()
    spread, agreeing = block["spread"], block["agreeing"]
    return {
        "k": len(columns) // 2,
        "queries": len(rows),
        "places": packed(place[ends.places[grid]], "i"),
        "scores": packed(ends.block.scores[grid], "f"),
        "spread": None if spread is None else packed(np.nan_to_num(spread[grid], nan=-1), "f"),
        "agreeing": None if agreeing is None else packed(agreeing[grid], "u"),
    }
