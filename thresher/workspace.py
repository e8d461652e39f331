"""Where the artefacts of one study lie, and what every stage of it shares."""

from dataclasses import dataclass
from pathlib import Path

from thresher.canonical import hash_json
from thresher.places import check_outside_artifacts
from thresher.progress import SILENT, Progress


def evidence_folder(out: str | Path, evidence: str | Path | None) -> Path:
    """Where what had to be made for the artefact at `out` is kept: the folder given, or one beside it."""
    return Path(evidence) if evidence is not None else Path(out).with_name(f"{Path(out).name}-evidence")


@dataclass(frozen=True)
class Workspace:
    """A folder of artefacts, and what all work in it shares: the device, the progress, the executor.

    Each artefact's name ends in a hash of what it is made from, so that a changed study makes new ones beside the old
    and finds the unchanged ones again.
    """

    root: Path
    device: str = "auto"
    progress: Progress = SILENT
    executor: str = "processes"
    """Where independent pieces of work are done: "processes" (of this machine) or "ray". Part of no artefact."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        check_outside_artifacts(self.root)

    def place(self, name: str, *made_from: object) -> Path:
        """The path of the artefact `name` that is made from these plain values; its folder is made."""
        # An arm may be named after a line of methods, "minhash:0.7 | dsdm".
        name = name.replace(" ", "").replace("|", "+").replace(":", "=")
        path = self.root / f"{name}-{hash_json(made_from)[:8]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
