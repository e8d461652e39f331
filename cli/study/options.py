"""What the studies of proxies share on the command line."""

from typing import Any

from thresher.cli.command import named_paths
from thresher.data.examples import Examples, open_examples
from thresher.errors import InputError
from thresher.progress import Progress
from thresher.seeds import derive
from thresher.studies.experiments.training_sets import Drawn, budget_of, drawn_from, parse_sets
from thresher.studies.selections.evidence import Sources
from thresher.workspace import Workspace


def draw_sets(settings: Any, progress: Progress) -> tuple[Examples, Sources, dict[str, list[Drawn]], int]:
    """The pool of a study, what its recipes are made from, recipe -> what each repeat is trained on, and how much.

    `settings` has the study commands' pool, recipes, tokens, examples, seeds, targets, models, seed, out, device and
    executor.
    """
    wanted, pool = parse_sets(settings.recipes), open_examples(settings.pool)
    budget = budget_of(pool, settings)
    targets = named_paths(settings.targets, "--targets") if settings.targets else {}
    sources = Sources(
        workspace=Workspace(settings.out, settings.device, progress, settings.executor),
        pool=pool,
        targets={name: open_examples(path) for name, path in targets.items()},
        models=settings.models,
        seed=settings.seed,
    )
    if len(wanted) < 3 or settings.seeds < 1:
        raise InputError(
            f"{len(wanted)} recipes and {settings.seeds} repeats; decisions are judged on 3 recipes or more"
        )
    seeds = [derive(settings.seed, "recipe", repeat) % 2**31 for repeat in range(settings.seeds)]
    # What may need models comes last, so that what cannot be drawn is refused before anything is computed.
    draws = {
        one.name: [drawn_from(one, budget, sources, seed=seed) for seed in seeds]
        for one in sorted(wanted, key=lambda one: "select:" in f"{one.kind}:{one.argument}")
    }
    return pool, sources, {one.name: draws[one.name] for one in wanted}, budget
