"""What the studies that train proxies share on the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thresher.choices import Executor, Optimizer
from thresher.cli.arguments import flag_of
from thresher.cli.command import named_paths
from thresher.cli.options import ModelOptions
from thresher.errors import InputError

if TYPE_CHECKING:
    from thresher.data.examples import Examples
    from thresher.progress import Progress
    from thresher.studies.experiments.recipes import Drawn


@dataclass(frozen=True, kw_only=True)
class StudyOptions(ModelOptions):
    """The options of a study that trains models of several kinds on several recipes."""

    makes = "workspace"

    pool: Path
    """A prepared pool."""
    test_sets: tuple[str, ...]
    """NAME=PREPARED of what every model is measured on."""
    recipes: tuple[str, ...]
    """NAME=KIND:ARGUMENT of each training set (or files of such lines): all, domain:A+B, class:A, mixture:A=.5,B=.5,
    select:SPEC, selection:PATH, or remove: before one of these."""
    out: Path
    """A folder for all runs and the result."""
    tokens: int | None = None
    """Each recipe is trained on so many tokens an epoch; none: a fifth of the pool."""
    examples: int | None = None
    """Or on what so many average examples of the pool hold; of images, so many."""
    seeds: int = 2
    """Repeats of every recipe with every model, draws and initialisations paired."""
    targets: tuple[str, ...] = ()
    """NAME=PREPARED for recipes that select by targets."""
    models: tuple[str, ...] = ()
    """Proxies for recipes that select by features, losses or embeddings."""
    epochs: float = 1.0
    batch_size: int | None = None
    optimizer: Optimizer | None = None
    resamples: int = 1000
    workers: int | None = None
    """Trainings at once; None: one a core, or one on a GPU."""
    executor: Executor = "processes"
    """Where runs are done: processes (of this machine), or ray (a cluster, see docs/training.md)."""
    seed: int = 0
    device: str = "auto"

    def drawn(self, progress: "Progress") -> "Drawn":
        """The pool, and what each repeat of every recipe is trained on."""
        from thresher.data.examples import open_examples
        from thresher.studies.experiments.recipes import budget_of, draw_recipes, parse_recipes
        from thresher.studies.selections.sources import Sources
        from thresher.workspace import Workspace

        recipes = parse_recipes(self.recipes)
        for name in self.given("targets", "models"):
            if not any(recipe.selects for recipe in recipes):
                raise InputError(f"{flag_of(name)} changes nothing without a recipe that selects; leave it out")
        pool = open_examples(self.pool)
        budget = budget_of(pool, self.tokens, self.examples)
        targets = named_paths(self.targets, "--targets") if self.targets else {}
        sources = Sources(
            workspace=Workspace(self.out, self.device, progress, self.executor),
            pool=pool,
            targets={name: open_examples(path) for name, path in targets.items()},
            models=self.models,
            seed=self.seed,
        )
        return draw_recipes(recipes, sources, budget=budget, num_repeats=self.seeds, seed=self.seed)

    def opened_test_sets(self) -> "dict[str, Examples]":
        """The test sets by name."""
        from thresher.data.examples import open_examples

        return {name: open_examples(path) for name, path in named_paths(self.test_sets, "--test-sets").items()}
