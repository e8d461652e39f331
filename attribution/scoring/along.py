"""One pass over the pool for its slopes along a direction a target: what `direction` and `curvature` share.

Whoever solves for the directions gives them by checkpoint; here they are kept with the work, every shard of the pool is
read along them, and nothing of it but n x d numbers is held.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import nn

from thresher.artifacts import Draft, is_sound, piece
from thresher.attribution.gradients.engine import Directions
from thresher.attribution.gradients.slopes import Slopes
from thresher.attribution.scoring.options import Models
from thresher.attribution.scoring.score_table import is_saved, load_state, saved
from thresher.data.batches import Part, all_of
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.progress import Progress

# Examples scored between two checkpoints of the work.
SHARD_SIZE = 2**13

Solved = tuple[Directions, Mapping[str, float]]
"""The direction of each target, [d, *shape] by parameter, and facts about how it was found."""


@dataclass(frozen=True, kw_only=True)
class AlongTask:
    """The slopes of a pool along directions, checkpoint by checkpoint."""

    models: Models
    pool: Examples
    num_directions: int
    batch_tokens: int | None
    reading: Mapping[str, Any]
    """Options of the `GradientEngine` that the pool is read with: what is differentiated, parameters, device."""
    shard_size: int = SHARD_SIZE

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise InputError(f"shard_size={self.shard_size} is out of range; pass 1 or more")

    def run(
        self, draft: Draft, m: int, solve: Callable[[nn.Module], Solved], progress: Progress
    ) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n"], dict[str, float]]:
        """Slopes and confidence under one checkpoint, and the facts of its directions. Resumes by shard."""
        starts = range(0, len(self.pool), self.shard_size)
        shards = {f"slopes{m:03d}-{start:012d}-{self.shard_size}": start for start in starts}
        missing = {name: start for name, start in shards.items() if not is_saved(draft, name)}
        vectors = draft.state / f"vectors{m:03d}.safetensors"
        if missing or not is_sound(vectors):
            model = self.models[m][1]()
            if not is_sound(vectors):
                directions, found = solve(model)
                facts = {f"fact {name}": torch.tensor(value, dtype=torch.float64) for name, value in found.items()}
                with piece(vectors) as file:
                    save_file({name: value.cpu().contiguous() for name, value in directions.items()} | facts, file)
            if missing:
                self._score(
                    draft, model, vectors, missing, f"scores, checkpoint {m + 1} of {len(self.models)}", progress
                )
        stored = [load_state(draft, name) for name in shards]
        slopes, confidence = (np.concatenate([shard[key] for shard in stored]) for key in ("slopes", "confidence"))
        return slopes, confidence, _facts(vectors)

    def _score(
        self, draft: Draft, model: nn.Module, vectors: Path, shards: Mapping[str, int], label: str, progress: Progress
    ) -> None:
        device = self.reading["device"]
        stored = {name: value.to(device) for name, value in load_file(vectors).items() if not name.startswith("fact ")}
        probe = all_of(self.pool, self.batch_tokens).probe()
        with (
            closing(Slopes(model, probe, stored, **self.reading)) as reader,
            progress.task(label, sum(len(self._rows(start)) for start in shards.values())) as advance,
        ):

            def made(start: int) -> dict[str, np.ndarray]:
                part = Part(self.pool, self._rows(start), self.batch_tokens)
                slopes = torch.zeros(len(part), self.num_directions, dtype=torch.float64)
                confidence = torch.zeros(len(part), dtype=torch.float64)
                for shares, batch in part.batches():
                    along, outputs = reader.read(batch)
                    shares.add(slopes, along.cpu())
                    shares.add(confidence, outputs.confidence.cpu())
                    advance(len(np.unique(shares.owners)))
                self._refuse_nonfinite(slopes.numpy(), start)
                return {"slopes": slopes.numpy(), "confidence": confidence.numpy()}

            for name, start in shards.items():
                saved(draft, name, lambda start=start: made(start))

    def _rows(self, start: int) -> Int[np.ndarray, "rows"]:
        return np.arange(start, min(start + self.shard_size, len(self.pool)))

    def _refuse_nonfinite(self, slopes: Float[np.ndarray, "rows d"], start: int) -> None:
        bad = np.flatnonzero(~np.isfinite(slopes).all(axis=1))
        if len(bad):
            raise InputError(
                f"example {self.pool.ids[start + int(bad[0])]!r} has scores that are not finite ({len(bad)} such "
                "examples in its shard); check that the model did not diverge"
            )


def _facts(vectors: Path) -> dict[str, float]:
    stored = load_file(vectors)
    return {name.removeprefix("fact "): float(value) for name, value in stored.items() if name.startswith("fact ")}
