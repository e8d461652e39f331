"""What the studies of proxies share on the command line."""

from typing import Any

from thresher.cli.command import named_paths
from thresher.data.examples import Examples, open_examples
from thresher.errors import InputError
from thresher.progress import Progress
from thresher.seeds import derive
from thresher.studies.experiments.recipes import budget_of, draw_recipe, parse_recipes
from thresher.studies.experiments.training_sets import TrainingSet
from thresher.studies.selections.sources import Sources
from thresher.workspace import Workspace


def draw_recipes(settings: Any, progress: Progress) -> tuple[Examples, Sources, list[TrainingSet], int]:
    """The pool, what recipes are made from, what each repeat of every recipe is trained on, and how much of it.

    `settings` has the study commands' pool, recipes, tokens, examples, seeds, targets, models, seed, out, device and
    executor.
    """
    recipes, pool = parse_recipes(settings.recipes), open_examples(settings.pool)
    budget = budget_of(pool, settings)
    targets = named_paths(settings.targets, "--targets") if settings.targets else {}
    sources = Sources(
        workspace=Workspace(settings.out, settings.device, progress, settings.executor),
        pool=pool,
        targets={name: open_examples(path) for name, path in targets.items()},
        models=settings.models,
        seed=settings.seed,
    )
    if len(recipes) < 3 or settings.seeds < 1:
        raise InputError(
            f"{len(recipes)} recipes and {settings.seeds} repeats; decisions are judged on 3 recipes or more"
        )
    seeds = [derive(settings.seed, "recipe", repeat) % 2**31 for repeat in range(settings.seeds)]
    # What may need models comes last, so that what cannot be drawn is refused before anything is computed.
    draws = {
        recipe.name: [draw_recipe(recipe, budget, sources, seed=seed) for seed in seeds]
        for recipe in sorted(recipes, key=lambda recipe: "select:" in f"{recipe.kind}:{recipe.argument}")
    }
    return pool, sources, [TrainingSet(recipe.name, draws[recipe.name]) for recipe in recipes], budget
