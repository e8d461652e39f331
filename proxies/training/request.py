"""What a training is asked for: its examples, weights and mixture checked, and the request that names its artefact."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.models.spec import Spec
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.last_steps import LastSteps


def request_of(
    spec: Spec,
    examples: Examples,
    config: TrainConfig,
    *,
    seed: int,
    indices: Int[np.ndarray, "m"],
    budget: int | None = None,
    weights: Float[np.ndarray, "n"] | None = None,
    mixture: dict[str, float] | None = None,
    held_out: Examples | None = None,
    last: LastSteps | None = None,
) -> dict[str, Any]:
    """Kind, configuration, seed and inputs of the artefact of a training, as `artifacts.build` takes them."""
    inputs = {"examples": examples.content_hash, "indices": hash_array(indices)}
    if weights is not None:
        inputs["weights"] = hash_array(weights)
    if held_out is not None:
        inputs["held_out"] = held_out.content_hash
    made_by = {"spec": spec, "training": config.record, "mixture": mixture, "budget": budget}
    made_by |= {} if last is None else {"last_steps": last.record}
    return {"kind": "model", "config": made_by, "seed": seed, "inputs": inputs}


def check_indices(indices: Sequence[int] | np.ndarray | None, num_examples: int) -> Int[np.ndarray, "m"]:
    """Positions in a pool of `num_examples` as int64 [m]; None stands for all of them.

    Raises InputError for an empty list and for anything that is not a position in the pool.
    """
    indices = np.arange(num_examples) if indices is None else np.asarray(indices)
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise InputError(f"indices are {indices.dtype} of shape {indices.shape}; pass a list of whole positions")
    if not len(indices):
        raise InputError("no examples to train on: the list of indices is empty; keep at least one")
    if indices.min() < 0 or indices.max() >= num_examples:
        worst = indices.min() if indices.min() < 0 else indices.max()
        raise InputError(
            f"index {worst} is outside of the pool's {num_examples} examples; pass 0 to {num_examples - 1}"
        )
    return indices.astype(np.int64)


def check_weights(weights: Sequence[float] | np.ndarray | None, num_examples: int) -> Float[np.ndarray, "n"] | None:
    """The weights of all examples of the pool (not of those at `indices`) as float64; None stays None.

    Raises InputError unless there is one for each, all are finite and 0 or more, and one is above 0.
    """
    if weights is None:
        return None
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (num_examples,):
        raise InputError(f"weights have shape {weights.shape}; pass one for each of the pool's {num_examples} examples")
    wrong = ~np.isfinite(weights) | (weights < 0)
    if wrong.any():
        raise InputError(
            f"weight {weights[wrong][0]} of example {wrong.argmax()}; weights are finite numbers of 0 or more"
        )
    if not weights.any():
        raise InputError("all weights are 0; give at least one example a weight above 0")
    return weights


def check_mixture(mixture: dict[str, float] | None, examples: Examples, indices: np.ndarray) -> dict[str, float] | None:
    """The share of each domain as a float, by name: in which order they are given changes nothing. None stays None, and
    a domain that is left out has share 0.

    Raises InputError for shares outside of 0 to 1 or that do not sum to 1, and for domains that the examples at
    `indices` lack.
    """
    if mixture is None:
        return None
    present = np.unique(examples.domains[indices]).tolist()
    for name, share in mixture.items():
        if not 0 <= share <= 1:
            raise InputError(f"domain {name!r} has share {share}; shares are numbers from 0 to 1")
        if share > 0 and name not in present:
            raise InputError(f"domain {name!r} has no example here; the domains are: {', '.join(present)}")
    total = sum(mixture.values())
    if abs(total - 1) > 1e-3:
        raise InputError(f"the mixture's shares sum to {total:.4g}; make them sum to 1")
    return {str(name): float(mixture[name]) for name in sorted(mixture)}


def hash_array(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and bytes, as hexadecimal digits."""
    header = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(header + np.ascontiguousarray(array).tobytes()).hexdigest()
