"""`thresher mix scores`: attribution scores summed by domain become a mixture (DsDm at the level of domains)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.cli.mix.options import Proposing, command_line
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Scores(Proposing):
    """Propose a mixture from the scores of a pool: domains whose tokens help the targets most gain weight.

    Scores are linear in the data, so without a pull to the prior all would go to one domain: --kl-weight is 1 here
    unless given. Intervals are over resampled examples.
    """

    usage = "thresher mix scores --scores scores --pool pool --out mixture"

    makes = "workspace"

    scores: Path
    """Scores, from `thresher score`."""
    pool: Path
    """The prepared pool that was scored."""
    kl_weight: float = 1.0
    """How strongly the mixture is held to the prior: at 1, one spread of the domains' scores is worth a nat."""
    out: Path | None = None
    """A folder for mixture.json and report.html."""

    def run(self, progress: Progress) -> dict[str, Any]:
        """Sum the scores by domain and propose a mixture."""
        from thresher.selection.mixture.domain_dsdm import propose_domain_dsdm
        from thresher.studies.experiments.training_sets import supply
        from thresher.studies.mixtures.proposal import natural_of, open_scored, write_proposal

        pool, scores = open_scored(self.pool, self.scores)
        tokens = supply(pool)
        result = propose_domain_dsdm(
            scores.by_target,
            pool.domains,
            pool.lengths(),
            goal=self.goal(list(scores.by_target)),
            constraints=self.constraints(list(tokens), tokens),
            natural=natural_of(list(tokens), tokens),
            num_resamples=self.checked_resamples(),
            seed=self.seed,
            progress=progress,
        )
        if self.out is None:
            return result
        return write_proposal(result, self.out, command=command_line("scores", self))
