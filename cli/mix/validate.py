"""`thresher mix validate`: does the proposed mixture help the reference? Train it and the baselines, paired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.cli.command import made, named_paths
from thresher.cli.lines import mixture_validation_lines
from thresher.cli.mix.options import BY_TOKENS, Training, command_line
from thresher.cli.options import settings_of
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Validate(Training):
    """Train the reference on the proposed, natural, uniform and best observed mixtures, from paired seeds, and compare.

    Every run is an artefact under --out; run the same command again to resume, with more --seeds to go on.
    """

    usage = "thresher mix validate --pool pool --targets squad=heldout --mixtures fitted=mixture --out validation"

    makes = "workspace"
    idle = BY_TOKENS

    targets: tuple[str, ...]
    """NAME=PREPARED of each held-out target (a part that the proposal has not seen)."""
    mixtures: tuple[str, ...]
    """NAME=mixture.json (or the folder it is in) of each proposal. The best observed joins, if known."""
    out: Path
    """A folder for all runs, the comparison and its page."""
    model: str = "1.6M"
    """The reference: parameters, or a model's name."""
    tokens: int | None = None
    """Tokens that each run trains on, repetitions counted; none: what --examples hold."""
    examples: int = 8000
    """Images that each run trains on, repetitions counted; of text, what so many average documents hold."""
    seeds: int = 3
    """Paired seeds: the initialisations and draws that every arm is trained from."""
    seed: int = 0

    def run(self, progress: Progress) -> dict[str, Any]:
        """Train every mixture from every seed, and write the comparison and its page."""
        from thresher.studies.mixtures.validation import ValidationSettings, validate_mixtures

        settings = settings_of(self, ValidationSettings)
        proposals = named_paths(self.mixtures, "--mixtures")
        options = {"command": command_line("validate", self), "workers": self.workers, "progress": progress}
        return made(validate_mixtures(self.bench(self.out), proposals, settings, **options))

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """The command that comes next."""
        from thresher.cli.following import opening

        return opening(f"{result['path']}/report.html")

    def show(self, result: Mapping[str, Any]) -> str:
        """The paired differences as lines for a person."""
        return "\n".join(mixture_validation_lines(result))
