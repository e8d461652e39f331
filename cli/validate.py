"""`thresher validate`: prove a selection on the larger reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.choices import Executor, Optimizer
from thresher.cli.command import made, named_numbers, named_paths
from thresher.cli.options import ModelOptions
from thresher.idle import VALIDATING
from thresher.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Validate(ModelOptions):
    """Train the reference on selections and on random data, at equal tokens and epochs, from paired seeds, and compare.

    Every run is an artefact under --out; run the same command again to resume.
    """

    usage = "thresher validate --pool pool --arms chosen=selection --targets squad=heldout --out validation"

    makes = "workspace"
    idle = VALIDATING

    pool: Path
    """The prepared pool that was selected from."""
    arms: tuple[str, ...]
    """NAME=SELECTION of each arm. All are trained on as many tokens as the smallest holds; random data is added."""
    targets: tuple[str, ...]
    """NAME=PREPARED of each held-out target (a part that selection has not seen)."""
    out: Path
    """A folder for all runs and the comparison."""
    off_targets: tuple[str, ...] = ()
    """NAME=PREPARED of data to report the losses of as well."""
    model: str = "1.6M"
    """The reference: parameters, or a model's name."""
    random_budgets: tuple[float, ...] = ()
    """Random data of so many times the arms' tokens as well, such as 0.5 2 4: gives the compute multiplier."""
    costs: tuple[str, ...] = ()
    """NAME=FLOPS of what choosing an arm's data took, for the multiplier with that cost."""
    workers: int | None = None
    """Trainings at once; None: one a core, or one on a GPU."""
    executor: Executor = "processes"
    """Where runs are done: processes (of this machine), or ray (a cluster, see docs/training.md)."""
    seeds: int = 3
    """Paired seeds: the initialisations that every arm is trained from."""
    epochs: float | None = None
    """Passes over each selection; None: 1 for language, 30 for vision."""
    tokens_per_parameter: float | None = None
    """Instead: tokens that each training sees in all, in parameters of the model."""
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: Optimizer | None = None
    seed: int = 0
    device: str = "auto"

    def run(self, progress: Progress) -> dict[str, Any]:
        """Train and compare."""
        from thresher.api.judging import validate

        validation = validate(
            self.pool,
            named_paths(self.arms, "--arms"),
            named_paths(self.targets, "--targets"),
            out=self.out,
            off_targets=named_paths(self.off_targets, "--off-targets") if self.off_targets else {},
            model=self.model,
            seeds=self.seeds,
            random_budgets=self.random_budgets,
            costs=named_numbers(self.costs, "--costs"),
            workers=self.workers,
            executor=self.executor,
            seed=self.seed,
            device=self.device,
            progress=progress,
            epochs=self.epochs,
            tokens_per_parameter=self.tokens_per_parameter,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            **self.model_options(),
        )
        return made(validation.artifact)

    def show(self, result: Mapping[str, Any]) -> str:
        """The comparison in sentences."""
        from thresher.studies.report.sentences import validation_lines

        lines = [f"path: {result['path']}", *validation_lines(result)]
        return "\n".join([*lines, f"learning curve: {result['path']}/learning_curve.svg"])


COMMAND = Validate
