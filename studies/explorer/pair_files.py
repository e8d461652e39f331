"""Scores of single target examples as an artefact, so that a study makes them once.

On disk: `pairs.safetensors`, of the target with number i the arrays `i forward places` [t, 2 k] and `i back places`
[n, 2 k], with `scores` (float32), `spread` (float32) and `agreeing` (int16) beside `places`, and `i whole spread`,
`i whole agreeing` [n] of the target as a whole. What is not known is left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file, save_file

from thresher.studies.explorer.ends import Block, Ends, TargetPairs, Together

FILE = "pairs.safetensors"
TYPES = {"places": np.int64, "scores": np.float32, "spread": np.float32, "agreeing": np.int16}


class Pairs(NamedTuple):
    """What is known of single target examples, and of targets as wholes under each proxy; by target."""

    single: Mapping[str, TargetPairs]
    whole: Mapping[str, Together]


def write_pairs(pairs: Pairs, file: Path) -> None:
    """Write both, targets by their numbers in order."""
    arrays = {}
    for number, (name, one) in enumerate(pairs.single.items()):
        for way, ends in {"forward": one.forward, "back": one.back}.items():
            if ends is not None:
                parts = {"places": ends.places, **ends.block._asdict()}
                arrays |= {f"{number} {way} {part}": values for part, values in parts.items()}
        if name in pairs.whole:
            whole = pairs.whole[name]
            arrays |= {f"{number} whole spread": whole.spread, f"{number} whole agreeing": whole.agreeing}
    known = {name: values for name, values in arrays.items() if values is not None}
    save_file({name: np.ascontiguousarray(v, dtype=TYPES[name.split()[-1]]) for name, v in known.items()}, file)


def read_pairs(file: Path, targets: list[str]) -> Pairs:
    """What `write_pairs` wrote, of the targets that it was of."""
    arrays = load_file(file)

    def ends(number: int, way: str) -> Ends | None:
        if f"{number} {way} places" not in arrays:
            return None
        parts = {part: arrays.get(f"{number} {way} {part}") for part in Block._fields}
        return Ends(arrays[f"{number} {way} places"], Block(**parts))  # pyright: ignore[reportArgumentType]

    single, whole = {}, {}
    for number, name in enumerate(targets):
        forward = ends(number, "forward")
        assert forward is not None
        single[name] = TargetPairs(forward, ends(number, "back"))
        if f"{number} whole spread" in arrays:
            whole[name] = Together(arrays[f"{number} whole spread"], arrays[f"{number} whole agreeing"])
    return Pairs(single, whole)
