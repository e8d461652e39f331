"""What makes a training run that very run: the request under which its artefact is built and found again."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thresher.data.examples import Examples
from thresher.proxies.models.spec import Spec
from thresher.proxies.training.config import Recipe
from thresher.proxies.training.order import hash_array
from thresher.settings import record


def request_of(
    spec: Spec,
    examples: Examples,
    recipe: Recipe,
    *,
    seed: int,
    indices: Int[np.ndarray, " m"],
    budget: int | None = None,
    weights: Float[np.ndarray, " n"] | None = None,
    mixture: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Kind, configuration, seed and inputs of the `model` artefact, as `artifacts.build` takes them."""
    inputs = {"examples": examples.content_hash, "indices": hash_array(indices)}
    if weights is not None:
        inputs["weights"] = hash_array(weights)
    config = {"spec": spec, "recipe": record(recipe), "mixture": mixture, "budget": budget}
    return {"kind": "model", "config": config, "seed": seed, "inputs": inputs}
