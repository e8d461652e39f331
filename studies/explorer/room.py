"""What of a subject goes into one page: all of it, or of a large one the ends, which is what a person looks at first.

Numbers come first, then the documents of targets, then those of the pool: the most helpful and the most harmful for
every target by turns, and what single target examples have at their ends.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from thresher.data.examples import Examples
from thresher.studies.explorer.documents import Shown, documents_of
from thresher.studies.explorer.ends import TargetPairs
from thresher.studies.explorer.packing import json_size, packed_size
from thresher.studies.explorer.pairs import BACK
from thresher.studies.explorer.subject import Subject

MEGABYTE = 2**20
OTHERS, CURVE = 2000, 8000
"""Bytes, about: names and facts; of each column the curve of a threshold."""
CHUNK = 256
"""Documents that are read and measured at a time."""
NUMBERS, TARGETS, PAIRS = 0.45, 0.2, 0.15
"""Shares of a page, at most: numbers of pool examples, documents of targets, single target examples either way."""


@dataclass(frozen=True)
class ShownTarget:
    """The first `count` examples of a target, with their documents; None: served one by one."""

    count: int
    documents: list[Shown] | None


@dataclass(frozen=True)
class Room:
    """What is in the page."""

    rows: Int[np.ndarray, "r"]
    """Positions of the pool examples whose numbers are in the page, ascending."""
    documents: list[Shown] | None
    """Of each row, or None for one without room; None: documents are served."""
    targets: Mapping[str, ShownTarget]
    top: int
    """Pool examples of each side that single target examples keep."""
    back: int
    """Target examples of each side that pool examples keep."""
    missing: str
    """What is not in the page, in one sentence; empty: nothing is missing."""


def fill(
    subject: Subject,
    columns: Mapping[str, Float[np.ndarray, "n"]],
    pairs: Mapping[str, TargetPairs],
    limit: int | None,
) -> Room:
    """Everything where there is room for it (`limit` bytes), else what comes first in `order_of`."""
    pool = subject.pool
    if limit is None:
        shown = {name: ShownTarget(len(target), None) for name, target in subject.targets.items()}
        return Room(np.arange(len(pool)), None, shown, subject.top, BACK, "")
    targets, used = _targets(subject, int(limit * TARGETS))
    order = np.fromiter(dict.fromkeys(order_of(columns, pairs)), np.int64)
    back = BACK
    while back > 2 and len(pool) * _bytes_of_back(pairs, back) > limit * PAIRS:
        back -= 1
    each = _bytes_of_a_row(subject, len(columns)) + _bytes_of_back(pairs, back)
    many = max(int((limit * NUMBERS) // each), 1)
    rows = np.sort(order[:many])
    top, used = subject.top, used + each * len(rows) + OTHERS + CURVE * len(columns)
    queries = sum(min(shown.count, len(pairs[name].forward.places)) for name, shown in targets.items() if name in pairs)
    while top > 3 and 2 * top * queries * _bytes_of_a_pair() > limit * PAIRS:
        top -= 1
    used += 2 * top * queries * _bytes_of_a_pair()
    documents = _documents(pool, order[:many], max(limit - used, 0))
    listed: list[Shown] = [documents.get(int(row)) for row in rows]
    return Room(rows, listed, targets, top, back, _missing(subject, len(rows), len(documents), targets))


def order_of(columns: Mapping[str, Float[np.ndarray, "n"]], pairs: Mapping[str, TargetPairs]) -> Iterator[int]:
    """Positions of the pool, the ones to show first first; every one at least once, most more often."""
    orders = [np.argsort(-values, kind="stable") for values in columns.values()]
    for rank in range(min(50, len(orders[0]))):
        for order in orders:
            yield int(order[rank])
            yield int(order[-1 - rank])
    for one in pairs.values():
        for place in one.forward.places.T.ravel().tolist():  # the first of every query, then the second
            if place >= 0:
                yield place
    for rank in range(50, len(orders[0])):
        for order in orders:
            yield int(order[rank])
            yield int(order[-1 - rank])


def _targets(subject: Subject, limit: int) -> tuple[dict[str, ShownTarget], int]:
    """The first examples of every target, in equal shares of `limit` bytes; and the bytes that they take."""
    shown, used = {}, 0
    for name, target in subject.targets.items():
        documents, size = [], 0
        for start in range(0, len(target), CHUNK):
            for one in documents_of(target, np.arange(start, min(start + CHUNK, len(target)))):
                size += json_size(one) + 60
                if documents and size > limit / len(subject.targets):
                    break
                documents.append(one)
            else:
                continue
            break
        shown[name] = ShownTarget(len(documents), documents)
        used += size
    return shown, used


def _documents(pool: Examples, order: Int[np.ndarray, "r"], limit: float) -> dict[int, Shown]:
    """As many documents as fit into `limit` bytes, in order; one that is too long alone is passed over.

    A table on disk is read in groups of rows, so few large pieces are asked for: as many as should fit by the mean of
    those before.
    """
    found: dict[int, Shown] = {}
    done, used, count = 0, 0, CHUNK
    while done < len(order) and limit - used >= 200:
        rows = np.sort(order[done : done + count])
        documents = dict(zip(rows.tolist(), documents_of(pool, rows), strict=True))
        for row in order[done : done + count].tolist():
            size = json_size(documents[row]) + 1
            if size <= limit - used:
                found[row] = documents[row]
                used += size
        done += count
        count = max(int((limit - used) * max(len(found), 1) / max(used, 1)), CHUNK)
    return found


def _bytes_of_a_row(subject: Subject, num_columns: int) -> float:
    ids = subject.pool.ids
    id_bytes = json_size([str(id) for id in ids[:: max(len(ids) // 200, 1)]]) / min(len(ids), 200) + 3
    numbers = packed_size(10**6, "i") / 10**6
    spread = 1.3 if subject.features is not None else 0
    return id_bytes + numbers * (num_columns * (1 + spread) + 3 + 4 * bool(subject.models))


def _bytes_of_back(pairs: Mapping[str, TargetPairs], back: int) -> float:
    return sum(2 * min(back, one.back.k) * _bytes_of_a_pair() for one in pairs.values() if one.back is not None)


def _bytes_of_a_pair() -> float:
    return packed_size(10**6, "f") / 10**6 * 3.25


def _missing(subject: Subject, num_rows: int, num_documents: int, targets: Mapping[str, ShownTarget]) -> str:
    size, lines = len(subject.pool), []
    if num_documents < size:
        lines.append(f"{num_documents:,} of {size:,} pool examples are whole in this page")
        if num_rows < size:
            lines.append(f"{num_rows:,} are listed")
    lines += [
        f"{shown.count:,} of {len(subject.targets[name]):,} examples of {name}"
        for name, shown in targets.items()
        if shown.count < len(subject.targets[name])
    ]
    return "; ".join(lines)
