"""The last step: from features and targets' gradients of every checkpoint, on disk, to scores, on disk."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thresher.attribution.traker.kernel import blocks
from thresher.errors import InputError


class Part(NamedTuple):
    """What one checkpoint contributes."""

    features: Float[np.ndarray, "n k"]
    targets: Float[np.ndarray, "t k"]
    doubt: Float[np.ndarray, "n 1"]
    """Q."""


def parts_of(
    saver: Any, logger: Any, exp_name: str, model_ids: Iterable[int] | None, *, allow_skip: bool
) -> Iterator[Part]:
    """The arrays of each checkpoint that has finalised features and targets of this experiment."""
    num_targets = saver.experiments[exp_name]["num_targets"]
    for model_id in list(saver.model_ids if model_ids is None else model_ids):
        if not saver.model_ids[model_id]["is_finalized"]:
            logger.warning(f"Model ID {model_id} is not finalized, so it does not score")
            continue
        saver.load_current_store(model_id)
        saver.load_current_store(model_id, exp_name, num_targets)
        store = saver.current_store
        targets = store[f"{exp_name}_grads"]
        if targets is None and not allow_skip:
            raise InputError(
                f"model_id {model_id} has no targets of experiment {exp_name!r}; score it, or pass allow_skip=True"
            )
        if targets is None:
            logger.warning(f"Model ID {model_id} has no targets of {exp_name!r}, so it does not score")
            continue
        never = sum(int((~targets[rows].any(axis=1)).sum()) for rows in blocks(*targets.shape))
        if never:
            logger.warning(f"{never} of {num_targets} targets have no gradient under model ID {model_id}")
        yield Part(store["features"], targets, store["out_to_loss"])


def write_scores(scores: Float[np.ndarray, "n t"], parts: Sequence[Part], computer: Any, device: Any) -> None:
    """mean_m(features_m targets_m^T) * mean_m(Q_m), blocks of examples by blocks of targets."""
    doubt = np.mean([np.asarray(part.doubt, np.float32) for part in parts], axis=0)
    for rows in blocks(len(scores), max(scores.shape[1], parts[0].features.shape[1])):
        total = torch.zeros(rows.stop - rows.start, scores.shape[1])
        for part in parts:
            features = torch.from_numpy(part.features[rows]).to(device)
            for columns in blocks(*part.targets.shape):
                targets = torch.from_numpy(part.targets[columns]).to(device)
                computer.get_scores(features, targets, accumulator=total[:, columns])
        scores[rows] = total.numpy() / len(parts) * doubt[rows]


def places_of(inds: Any, num_samples: int | None, last: int, size: int, size_name: str) -> tuple[np.ndarray, int]:
    """Rows that a batch is for, and where the next one starts: given, or the next `num_samples`."""
    if (inds is None) == (num_samples is None):
        raise InputError(f"inds={inds} and num_samples={num_samples} were passed; pass exactly one of them")
    if num_samples is not None:
        places = np.arange(last, last + num_samples)
        last += num_samples
    else:
        given = inds.cpu() if isinstance(inds, Tensor) else inds
        places = np.asarray(given).reshape(-1)
        if len(places) and places.dtype.kind not in "iu":
            raise InputError(
                f"inds holds {places.dtype}, and rows are whole numbers; pass positions, which for a mask are "
                "np.flatnonzero(mask)"
            )
        places = places.astype(np.int64)
    if len(places) and not (places.min() >= 0 and places.max() < size):
        raise InputError(
            f"examples {places.min()} to {places.max()} are beyond {size_name}={size}; pass the size of the whole set"
        )
    return places, last


def array_of(values: Tensor, dtype: torch.dtype) -> np.ndarray:
    """A tensor as an array of this type, on the CPU."""
    return values.detach().to("cpu", dtype).numpy()
