"""Features and outputs in few bytes: 2 a number of the features, 4 to 8 an example for its outputs.

features  float16 under one power-of-two scale
margin    float32: from it, where an example has one prediction, follow the loss and the confidence
loss      float16, only where it does not follow
doubt     float16, 1 - confidence, likewise: what scores are weighted with (Q), to 5e-4 of itself; a confidence
          near 1 would be rounded to 1
"""

import math

import numpy as np
from jaxtyping import Float

OUTPUTS = ("margin", "loss", "confidence")
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
    """Pack margin, loss and confidence, [rows] each in float32, as they are stored."""
    margin, loss, confidence = (outputs[name] for name in OUTPUTS)
    follows = _of_margin(margin)
    if all(np.allclose(follows[name], outputs[name], rtol=1e-4, atol=1e-6) for name in OUTPUTS):
        return {"margin": margin}
    tail = np.where(confidence > 0.5, -(1 - confidence), confidence).astype(np.float16)
    return {"margin": _half(margin), "loss": _half(loss), "tail": tail}


def unpack_outputs(stored: Arrays) -> dict[str, Float[np.ndarray, "rows"]]:
    """Unpack margin, loss and confidence, [rows] each in float32; the three themselves are taken too."""
    if "tail" in stored:
        tail = stored["tail"].astype(np.float32)
        # A doubt of 0 is stored as -0.
        confidence = np.where(np.signbit(tail), 1 + tail, tail)
        margin, loss = (stored[name].astype(np.float32) for name in ("margin", "loss"))
        return {"margin": margin, "loss": loss, "confidence": confidence}
    if "loss" in stored:
        return {name: stored[name] for name in OUTPUTS}
    return _of_margin(stored["margin"])


def _half(values: np.ndarray) -> np.ndarray:
    fits = np.abs(values).max(initial=0.0) < np.finfo(np.float16).max
    return values.astype(np.float16) if fits else values


def _of_margin(margin: Float[np.ndarray, "rows"]) -> Arrays:
    """Of one prediction: p = 1 / (1 + exp(-margin)), loss = -log p."""
    loss = np.logaddexp(0, -margin.astype(np.float64))
    return {"margin": margin, "loss": loss.astype(np.float32), "confidence": np.exp(-loss).astype(np.float32)}
