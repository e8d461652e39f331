"""`thresher mix doremi`: reweight domains while a proxy trains, by how far each lags a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.cli.following import opening
from thresher.cli.lines import proposal_lines
from thresher.cli.mix.options import BY_TOKENS, command_line
from thresher.cli.options import ModelOptions, settings_of
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class DoReMi(ModelOptions):
    """DoReMi on a prepared pool: a reference trained on uniform domains, then a proxy whose domains are reweighted.

    The mixture is the weights' mean over steps and over --seeds; how far the seeds agree is in the report, because
    DoReMi is known to end nearly one-hot and to depend on proxy and tokenizer.
    """

    usage = "thresher mix doremi --pool pool --model 1M --out doremi"

    makes = "workspace"
    idle = BY_TOKENS

    pool: Path
    """A prepared pool with domains."""
    out: Path
    """A folder for the runs, mixture.json and report.html."""
    model: str = "0.1M"
    """Reference and proxy: parameters, or a model's name."""
    tokens: int | None = None
    """Tokens that each trains on; none: what --examples hold."""
    examples: int = 4000
    """Images that each trains on; of text, what so many average documents hold."""
    eta: float = 1.0
    """Step size of the weights."""
    smoothing: float = 1e-3
    """Share of uniform weights mixed in at every step."""
    seeds: int = 3
    """Proxies (with a reference each), for the interval."""
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0
    device: str = "auto"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Train reference and proxy models by turns, and write the mean weights over their paths."""
        from thresher.data.examples import open_examples
        from thresher.studies.mixtures.doremi import DoReMiSettings, reweight_by_doremi
        from thresher.studies.mixtures.proposal import write_proposal
        from thresher.workspace import Workspace

        settings = settings_of(self, DoReMiSettings, model=self.model_settings(self.model, epochs=1.0))
        workspace = Workspace(self.out, self.device, progress)
        result = reweight_by_doremi(open_examples(self.pool), settings, workspace)
        return write_proposal(result, self.out, command=command_line("doremi", self))

    def then(self, result: Mapping[str, Any]) -> Sequence[object] | None:
        """Look at the report."""
        return opening(result["report"])

    def show(self, result: Mapping[str, Any]) -> str:
        """The mixture as lines for a person."""
        return "\n".join(proposal_lines(result))
