"""One pass over the pool for its slopes along a direction a target: what `direction` and `curvature` share.

Whoever solves for the directions gives them by checkpoint; here they are kept with the work, every shard of the pool is
read along them, and nothing of it but n x d numbers is held.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

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


@dataclass(frozen=True)
class Solved:
    """What scores are the slopes along, under one checkpoint."""

    directions: Directions
    """[d, *shape] by parameter."""
    facts: Mapping[str, float] = field(default_factory=dict)
    """How they were found."""
    mixing: Float[Tensor, "t d"] | None = None
    """What of each direction makes the direction of each target; None: they are the targets'."""

    def of_target(self, number: int) -> dict[str, Tensor]:
        """The direction of one target, by parameter."""
        if self.mixing is None:
            return {name: value[number] for name, value in self.directions.items()}
        return {name: torch.tensordot(self.mixing[number].to(v), v, 1) for name, v in self.directions.items()}

    def save(self, file: Path) -> None:
        """Write all of it as one file."""
        mixing = {} if self.mixing is None else {MIXING: self.mixing}
        tensors = {name: value.cpu().contiguous() for name, value in {**self.directions, **mixing}.items()}
        with piece(file) as scratch:
            save_file(tensors, scratch, {"facts": json.dumps(dict(self.facts))})

    @classmethod
    def load(cls, file: Path, device: torch.device | str = "cpu") -> "Solved":
        """Read what `save` wrote."""
        with safe_open(file, framework="pt", device=str(device)) as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            facts = json.loads(stored.metadata()["facts"])
        return cls({name: v for name, v in tensors.items() if name != MIXING}, facts, tensors.get(MIXING))


MIXING = "mixing of directions"
"""Beside the names of parameters, which have no blanks."""


@dataclass(frozen=True, kw_only=True)
class AlongTask:
    """The slopes of a pool along directions, checkpoint by checkpoint."""

    models: Models
    pool: Examples
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
        """Slopes and doubts under one checkpoint, and the facts of its directions. Resumes by shard."""
        starts = range(0, len(self.pool), self.shard_size)
        shards = {f"along{m:03d}-{start:012d}-{self.shard_size}": start for start in starts}
        missing = {name: start for name, start in shards.items() if not is_saved(draft, name)}
        file = self._file(draft, m)
        if missing or not is_sound(file):
            model = self.models[m][1]()
            if not is_sound(file):
                solve(model).save(file)
            if missing:
                label = f"scores, checkpoint {m + 1} of {len(self.models)}"
                self._score(draft, model, self.solved(draft, m), missing, label, progress)
        stored = [load_state(draft, name) for name in shards]
        slopes, doubt = (np.concatenate([shard[key] for shard in stored]) for key in ("slopes", "doubt"))
        solved = Solved.load(file)
        if solved.mixing is not None:
            slopes = slopes @ solved.mixing.double().numpy().T
        return slopes, doubt, dict(solved.facts)

    def solved(self, draft: Draft, m: int) -> Solved:
        """The directions of one checkpoint, kept from when they were solved for."""
        return Solved.load(self._file(draft, m), self.reading["device"])

    def _file(self, draft: Draft, m: int) -> Path:
        return draft.state / f"vectors{m:03d}.safetensors"

    def _score(
        self, draft: Draft, model: nn.Module, solved: Solved, shards: Mapping[str, int], label: str, progress: Progress
    ) -> None:
        num_directions = len(next(iter(solved.directions.values())))
        probe = all_of(self.pool, self.batch_tokens).probe()
        with (
            closing(Slopes(model, probe, solved.directions, **self.reading)) as reader,
            progress.task(label, sum(len(self._rows(start)) for start in shards.values())) as advance,
        ):

            def made(start: int) -> dict[str, np.ndarray]:
                part = Part(self.pool, self._rows(start), self.batch_tokens)
                slopes = torch.zeros(len(part), num_directions, dtype=torch.float64)
                doubt = torch.zeros(len(part), dtype=torch.float64)
                for shares, batch in part.batches():
                    along, outputs = reader.read(batch)
                    shares.add(slopes, along.cpu())
                    shares.add(doubt, outputs.doubt.cpu())
                    advance(len(np.unique(shares.owners)))
                self._refuse_nonfinite(slopes.numpy(), start)
                return {"slopes": slopes.numpy(), "doubt": doubt.numpy()}

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
