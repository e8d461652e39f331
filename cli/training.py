"""Train a model of a study's table: the one place where a table becomes a specification and a recipe."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from thresher.artifacts import Artifact
from thresher.cli.study import ModelTable
from thresher.cli.workspace import Workspace
from thresher.data.examples import Examples
from thresher.proxies import Recipe, model_spec, train
from thresher.proxies.models import Spec, model_width
from thresher.proxies.order import hash_array
from thresher.settings import record


def train_model(
    pool: Examples, table: ModelTable, name: str, *, seed: int, indices: np.ndarray, space: Workspace
) -> Artifact:
    """One model of `table` on the pool's examples at `indices`, under `space`."""
    spec = model_spec(table.size, pool)
    return train(
        spec,
        pool,
        out=place_of(pool, table, name, seed=seed, indices=indices, space=space),
        recipe=recipe_of(table, spec),
        seed=seed,
        indices=indices,
        device=space.device,
        progress=space.progress,
    )


def place_of(pool: Examples, table: ModelTable, name: str, *, seed: int, indices: np.ndarray, space: Workspace) -> Path:
    """Where `train_model` puts the model, whether it is there or not."""
    spec = model_spec(table.size, pool)
    return space.place(name, spec, record(recipe_of(table, spec)), pool.content_hash, hash_array(indices), seed)


def recipe_of(table: ModelTable, spec: Spec) -> Recipe:
    """How the model of `spec` is trained: the defaults of its task, with what `table` says instead."""
    wanted = {key: value for key, value in asdict(table).items() if key in Recipe.__dataclass_fields__}
    return Recipe.for_task(spec["task"], **{key: value for key, value in wanted.items() if value is not None})


def usual_rate(table: ModelTable, pool: Examples) -> float:
    """The peak learning rate that a model of `table` is trained at unless it says another."""
    spec = model_spec(table.size, pool)
    return recipe_of(table, spec).peak_rate(source=spec["source"], width=model_width(spec))
