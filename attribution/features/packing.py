"""Features and outputs in few bytes: 2 a number of the features, 4 to 8 an example for its outputs.

features  float16 under one power-of-two scale
margin    float32: from it, where an example has one prediction, follow the others
loss      float16, only where it does not follow
tail      likewise: p, or where p is above one half -(1 - p), so that what scores are weighted with (Q = 1 - p) does not
          round to 0; float16, which keeps 5e-4 of it, or float32 in a shard with a tail below what float16 can keep so
"""

import math

import numpy as np
from jaxtyping import Float

OUTPUTS = ("margin", "loss", "confidence", "doubt")
Arrays = dict[str, np.ndarray]


def pack(features: Float[np.ndarray, "rows k"], dtype: str) -> Arrays:
    """Split features into `features` and a `scale` whose product they are.

    The scale is a power of two, so that float16 cannot overflow.
    """
    if dtype == "float32":
        return {"features": features, "scale": np.ones(1, dtype=np.float32)}
    largest = float(np.abs(features).max(initial=0.0))
    # The largest number lands in [2^13, 2^14): a factor 4 below float16's limit, 2^28 above its smallest normal.
    scale = np.float32(2.0 ** (math.frexp(largest)[1] - 14)) if largest > 0 else np.float32(1)
    return {"features": (features / scale).astype(np.float16), "scale": np.array([scale], dtype=np.float32)}


def pack_outputs(outputs: Arrays) -> Arrays:
    """Pack OUTPUTS, [rows] each in float32, as they are stored."""
    margin, loss, confidence, doubt = (outputs[name] for name in OUTPUTS)
    follows = _of_margin(margin)
    least = dict.fromkeys(OUTPUTS, 1e-06) | {"doubt": float(np.finfo(np.float32).tiny)}
    if all(np.allclose(follows[name], outputs[name], rtol=1e-4, atol=least[name]) for name in OUTPUTS):
        return {"margin": margin}
    tail = np.where(confidence > 0.5, -doubt, confidence)
    kept = bool(np.all((np.abs(tail) >= np.finfo(np.float16).smallest_normal) | (tail == 0)))
    return {"margin": _half(margin), "loss": _half(loss), "tail": tail.astype(np.float16 if kept else np.float32)}


def unpack_outputs(stored: Arrays) -> dict[str, Float[np.ndarray, "rows"]]:
    """Unpack OUTPUTS, [rows] each in float32; margin, loss and confidence themselves are taken too."""
    if "tail" in stored:
        tail = stored["tail"].astype(np.float32)
        # A doubt of 0 is stored as -0.
        sure, small = np.signbit(tail), np.abs(tail)
        margin, loss = (stored[name].astype(np.float32) for name in ("margin", "loss"))
        confidence, doubt = np.where(sure, 1 - small, small), np.where(sure, small, 1 - small)
        return {"margin": margin, "loss": loss, "confidence": confidence, "doubt": doubt}
    if "loss" in stored:
        return {"doubt": 1 - stored["confidence"]} | {name: stored[name] for name in OUTPUTS if name in stored}
    return _of_margin(stored["margin"])


def _half(values: np.ndarray) -> np.ndarray:
    fits = np.abs(values).max(initial=0.0) < np.finfo(np.float16).max
    return values.astype(np.float16) if fits else values


def _of_margin(margin: Float[np.ndarray, "rows"]) -> Arrays:
    """Of one prediction: p = 1 / (1 + exp(-margin)), loss = -log p, 1 - p = p exp(-margin)."""
    loss, of_others = (np.logaddexp(0, sign * margin.astype(np.float64)) for sign in (-1, 1))
    found = {"loss": loss, "confidence": np.exp(-loss), "doubt": np.exp(-of_others)}
    return {"margin": margin} | {name: values.astype(np.float32) for name, values in found.items()}
