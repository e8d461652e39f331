"""What every typed handle is: a small frozen object over a finished artefact, and a path as well."""

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from thresher.artifacts import Artifact, open_artifact
from thresher.errors import InputError

Source = str | os.PathLike[str] | Artifact
"""A handle, an artefact or a path."""
AnyHandle = TypeVar("AnyHandle", bound="Handle")


@dataclass(frozen=True, repr=False)
class Handle:
    """A finished artefact of any kind."""

    artifact: Artifact
    """Its request, facts, files and hashes."""
    kinds: ClassVar[tuple[str, ...]] = ()
    shown: ClassVar[tuple[str, ...]] = ()
    """The facts that a person is shown."""

    @classmethod
    def of(cls: type[AnyHandle], source: Source) -> AnyHandle:
        """The handle of a path, an artefact or a handle. Raises InputError for an artefact of another kind."""
        if isinstance(source, cls):
            return source
        artifact = source if isinstance(source, Artifact) else open_artifact(Path(os.fspath(source)).expanduser())
        if cls.kinds and artifact.kind not in cls.kinds:
            raise InputError(
                f"{artifact.path} holds {artifact.kind!r}, but {cls.kinds[0]!r} is needed here; "
                f"give a {cls.kinds[0]} artefact"
            )
        return cls(artifact)

    @property
    def path(self) -> Path:
        """The artefact's folder."""
        return self.artifact.path

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its maker recorded: counts, costs, results."""
        return self.artifact.facts

    @property
    def content_hash(self) -> str:
        """Of the data files alone: the same for the same bytes, wherever they lie."""
        return self.artifact.content_hash

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        facts = "".join(f", {name} {_short(self.facts[name])}" for name in self.shown if name in self.facts)
        return f"{type(self).__name__}({str(self.path)!r}{facts})"

    def _repr_html_(self) -> str:
        facts = {"path": self.path, "kind": self.artifact.kind}
        facts |= {name: _short(self.facts[name]) for name in self.shown if name in self.facts}
        rows = (
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>" for name, value in facts.items()
        )
        return f"<b>{type(self).__name__}</b><table>{''.join(rows)}</table>"


def _short(value: Any) -> str:
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
