"""A filter step for `datatrove` pipelines that keeps the documents of a selection."""

import importlib
from typing import Any

from thresher.api.handle import Source
from thresher.api.handles import Selection
from thresher.errors import InputError


def selection_filter(selection: Source, *, exclusion_writer: Any = None) -> Any:
    """A `datatrove` step that lets through the documents whose id a selection keeps, each once, in their order.

    The ids are those of the pool, so read the same files with the pool's id column (`JsonlReader(..., id_key="id")`).
    A dropped document is counted, and given to the `exclusion_writer`, under the stage of the selection that left it
    out. Raises InputError where datatrove is not installed, for a selection by row numbers, and in the pipeline for a
    document that the pool has not.
    """
    handle = Selection.of(selection)
    if handle.facts.get("numbered_by") is not None:
        raise InputError(
            f"{handle.path} knows documents by their row numbers, which are no ids to find them by; prepare the pool "
            "with --id, and select from that"
        )
    try:
        filters = importlib.import_module("datatrove.pipeline.filters")
    except ImportError:
        raise InputError("selection_filter needs datatrove; pip install 'thresher[integrations]'") from None
    dropped = handle.dropped()
    reasons = dict(zip(dropped["id"], dropped["reason"], strict=True))
    return filters.LambdaFilter(_Kept(str(handle.path), set(handle.ids), reasons), exclusion_writer)


class _Kept:
    """What becomes of a document; a class, so that a pipeline can be sent to other processes."""

    def __init__(self, path: str, kept: set[str], reasons: dict[str, str]) -> None:
        self._path, self._kept, self._reasons = path, kept, reasons

    def __call__(self, document: Any) -> bool | tuple[bool, str]:
        id = str(document.id)
        if id in self._kept:
            return True
        if id not in self._reasons:
            raise InputError(
                f"document {id!r} is in no way part of the pool that {self._path} selects from; read the pool's own "
                "files, with the id column that it was prepared with"
            )
        return False, self._reasons[id]
