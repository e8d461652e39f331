"""Scores of a pool for a few targets with no features stored: one direction a target, one pass over the pool.

    score_m(z_i) = <grad f_m(z_i), v_m>,    v_m = (n/s G_s^T G_s + lambda I)^{-1} mean_t grad f_m(t)

G_s holds the gradients of s pool examples drawn at random, scaled to the whole pool; with s = n the scores are those of
`dual`. By Woodbury's identity v is a sum of gradients with weights from the s x s kernel (a backward pass over s + t
examples; c = n / s):

    v = (g - G_s^T w) / lambda,    w = (G_s G_s^T + lambda / c I)^{-1} G_s g

and the pool takes one pass for its slopes along v (see `slopes`), about as long as one that trains on it. Memory does
not grow with the pool, beside ids and scores.
"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from thresher.artifacts import Artifact, Draft, build, is_sound, piece
from thresher.attribution.gradients.factored import GradientReader
from thresher.attribution.gradients.pairwise import Read, gram, num_pairs
from thresher.attribution.gradients.slopes import Slopes, mean_gradients, weighted_gradients
from thresher.attribution.scoring.kernel import factorise
from thresher.attribution.scoring.options import Models, Options, hashes
from thresher.attribution.scoring.score_table import is_saved, load_state, saved, write_scores
from thresher.attribution.scoring.weighting import q_of
from thresher.data.batches import Part, all_of
from thresher.data.examples import Examples
from thresher.devices import pick_device
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.seeds import numpy_rng

# Examples scored between two checkpoints of the work.
SHARD_SIZE = 2**13
FACTS = ("damping", "relative_damping", "diagonal_shift")


def score_by_direction(
    models: Models,
    pool: Examples,
    targets: Mapping[str, Examples],
    *,
    out: Path,
    sample: int = 2000,
    seed: int = 0,
    options: Options = Options(),  # noqa: B008 (frozen)
    shard_size: int = SHARD_SIZE,
    progress: Progress = SILENT,
) -> Artifact:
    """Scores as `scores.score` writes them, with no features made.

    `sample` is s (the whole pool where that has fewer), drawn anew for each checkpoint by `seed`. A killed run
    continues with the shard it was at; `shard_size`, in examples, is no part of the request. Raises InputError for bad
    options, for a kernel that the memory does not hold, and for scores that are not finite.
    """
    options.check(models, pool, targets, zero_damping=False)
    options = options.for_goal(pool, targets)
    for name, value in {"sample": sample, "shard_size": shard_size}.items():
        if value < 1:
            raise InputError(f"{name}={value} is out of range; pass 1 or more")
    task = _Task(models, pool, targets, options, min(sample, len(pool)), seed, shard_size)

    def write(draft: Draft) -> dict:
        total, confidences, facts = np.zeros((len(pool), len(targets))), [], []
        for m in range(len(models)):
            slopes, confidence, kernel_facts = task.run(draft, m, progress)
            total += slopes / len(models)
            confidences.append(confidence)
            facts.append(kernel_facts)
        assert options.q is not None
        total *= q_of(confidences, options.q, options.output)[:, None]
        columns = dict(zip(targets, total.T, strict=True))
        return {"kernels": facts, "sample": task.sample} | write_scores(draft, pool, columns, len(models), targets)

    inputs = hashes(models, pool, targets)
    config = {"method": "direction", "sample": task.sample, "targets": list(targets)} | options.request
    return build(out, kind="scores", config=config, seed=seed, inputs=inputs, write=write)


class _Task:
    def __init__(
        self,
        models: Models,
        pool: Examples,
        targets: Mapping[str, Examples],
        options: Options,
        sample: int,
        seed: int,
        shard_size: int,
    ) -> None:
        self.models, self.pool, self.options = models, pool, options
        self.sample, self.seed, self.shard_size = sample, seed, shard_size
        self.targets = [all_of(examples, options.batch_tokens) for examples in targets.values()]
        self.memory = options.memory_beside(sample, len(targets))

    def run(self, draft: Draft, m: int, progress: Progress) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Slopes [n, d] and confidence [n] of one checkpoint, and the facts of its direction."""
        starts = range(0, len(self.pool), self.shard_size)
        shards = {f"slopes{m:03d}-{start:012d}-{self.shard_size}": start for start in starts}
        missing = {name: start for name, start in shards.items() if not is_saved(draft, name)}
        if missing:
            model = self.models[m][1]()
            label = f"checkpoint {m + 1} of {len(self.models)}"
            vectors = draft.state / f"vectors{m:03d}.safetensors"
            if not is_sound(vectors):
                direction = self._direction(model, m, f"kernel of the sample, {label}", progress)
                with piece(vectors) as file:
                    save_file(direction, file)
            self._score(draft, model, vectors, missing, f"scores, {label}", progress)
        stored = [load_state(draft, name) for name in shards]
        slopes, confidence = (np.concatenate([shard[key] for shard in stored]) for key in ("slopes", "confidence"))
        return slopes, confidence, {key: stored[0][key].item() for key in FACTS}

    def _direction(self, model: nn.Module, m: int, label: str, progress: Progress) -> dict[str, Tensor]:
        """The direction v of each target by parameter, and the facts of the kernel, as tensors to be kept."""
        drawn = numpy_rng(self.seed, "direction", m).choice(len(self.pool), self.sample, replace=False)
        part, output = Part(self.pool, np.sort(drawn), self.options.batch_tokens), self.options.output
        with closing(GradientReader(model, part.probe(), **self.options.reading)) as reader:
            target = mean_gradients(reader.engine, self.targets, output, by_confidence=self.options.goal == "labels")
            cross = torch.zeros(len(part), len(self.targets), dtype=torch.float64)

            def each_tile(held: list[Read]) -> None:
                for read in held:
                    read.shares.add(cross, read.gradients.along(target).cpu())

            with progress.task(label, num_pairs(reader, part, self.memory)) as advance:
                matrix = gram(reader, part, self.memory, each_tile=each_tile, advance=advance)
            damping = self.options.multiple * float(matrix.diagonal().mean())
            kernel = factorise(matrix, damping * len(part) / len(self.pool))
            explained = weighted_gradients(model, reader.engine.names, part, kernel.solve(cross), output)
        vectors = {name: ((value - explained[name]) / damping).cpu().contiguous() for name, value in target.items()}
        facts = kernel.facts | {"damping": damping, "relative_damping": self.options.multiple}
        return vectors | {f"fact {name}": torch.tensor(facts[name], dtype=torch.float64) for name in FACTS}

    def _score(
        self, draft: Draft, model: nn.Module, vectors: Path, shards: Mapping[str, int], label: str, progress: Progress
    ) -> None:
        stored = load_file(vectors)
        facts = {name: stored.pop(f"fact {name}").numpy() for name in FACTS}
        directions = {name: value.to(pick_device(self.options.device)) for name, value in stored.items()}
        probe = self.options.part(self.pool).probe()
        with (
            closing(Slopes(model, probe, directions, **self.options.reading)) as reader,
            progress.task(label, sum(len(self._rows(start)) for start in shards.values())) as advance,
        ):

            def made(start: int) -> dict[str, np.ndarray]:
                part = Part(self.pool, self._rows(start), self.options.batch_tokens)
                slopes = torch.zeros(len(part), len(self.targets), dtype=torch.float64)
                confidence = torch.zeros(len(part), dtype=torch.float64)
                for shares, batch in part.batches():
                    along, outputs = reader.read(batch)
                    shares.add(slopes, along.cpu())
                    shares.add(confidence, outputs.confidence.cpu())
                    advance(len(np.unique(shares.owners)))
                self._refuse_nonfinite(slopes.numpy(), start)
                return {"slopes": slopes.numpy(), "confidence": confidence.numpy()} | facts

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
