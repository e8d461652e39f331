"""`thresher validate`: prove a selection on the larger reference."""

from dataclasses import dataclass
from pathlib import Path

from thresher.cli.command import made, named_numbers, named_paths
from thresher.cli.options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class Validate(ModelOptions):
    """Train the reference on selections and on random data, at equal tokens and epochs, from paired seeds, and compare.

    Every run is an artefact under --out; run the same command again to resume.
    """

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
    executor: str = "processes"
    """Where runs are done: processes (of this machine), or ray (a cluster, see docs/training.md)."""
    seeds: int = 3
    """Paired seeds: the initialisations that every arm is trained from."""
    epochs: float | None = None
    """Passes over each selection; None: 1 for language, 30 for vision."""
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: str | None = None
    seed: int = 0
    device: str = "auto"

    def run(self, progress):
        from thresher.data.examples import open_examples
        from thresher.proxies.settings import ModelSettings
        from thresher.studies.experiments.training_sets import TrainingSet, held_by, kept_positions, random_set
        from thresher.studies.experiments.validation import Plan, validate
        from thresher.workspace import Workspace

        pool = open_examples(self.pool)
        kept = {name: kept_positions(path, pool) for name, path in named_paths(self.arms, "--arms").items()}
        arms = [TrainingSet.of(name, positions) for name, positions in kept.items()]
        if "random" not in {arm.name for arm in arms}:
            lengths = pool.lengths()
            smallest = min(min(held) for held in held_by(arms, lengths, 1).values())
            arms.append(random_set(lengths, smallest, num_repeats=self.seeds, seed=self.seed))
        off_targets = named_paths(self.off_targets, "--off-targets") if self.off_targets else {}
        table = ModelSettings(
            size=self.model,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            **self.model_options(),
        )
        artifact = validate(
            pool,
            arms,
            {name: open_examples(path) for name, path in named_paths(self.targets, "--targets").items()},
            {name: open_examples(path) for name, path in off_targets.items()},
            model=table,
            plan=Plan(
                num_seeds=self.seeds,
                random_budgets=self.random_budgets,
                costs=named_numbers(self.costs, "--costs"),
                workers=self.workers,
            ),
            seed=self.seed,
            workspace=Workspace(self.out, self.device, progress, self.executor),
        )
        return made(artifact)

    def show(self, result):
        from thresher.studies.report.sentences import validation_lines

        lines = [f"path: {result['path']}", *validation_lines(result)]
        return "\n".join([*lines, f"learning curve: {result['path']}/learning_curve.svg"])


COMMAND = Validate
