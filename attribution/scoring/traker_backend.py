"""Scores by the `traker` package (0.3.2): its projections, kernel and scale, into the same scores artefact as ours.

traker knows windows, not documents: its kernel is over the windows of the pool, and a document's score the mean of its
windows' by their shares of predicted tokens. traker differentiates, projects and inverts; what it would do as an n x t
matrix (`finalize_scores`) is done here by its own features and the mean of its target gradients, which is the same
number. Its features are n x k in memory.
"""

import io
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from trak import TRAKer
from trak.gradient_computers import IterativeGradientComputer
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import BasicProjector, NoOpProjector, ProjectionType

from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.scoring.kernel import Damping
from thresher.attribution.scoring.score_table import saved, write_scores
from thresher.attribution.scoring.weighting import check_q, q_of, resolve_q
from thresher.choices import TRAKER_PROJECTIONS
from thresher.data.examples import Examples
from thresher.devices import full_float32
from thresher.errors import InputError
from thresher.outputs import Batch, Outputs, logits_of, outputs_of
from thresher.progress import SILENT, Progress
from thresher.scores import RESERVED

BATCH_SIZE = 32
NUM_FEATURES = 512
ROWS = 4096


@full_float32()
def score_with_traker(
    models: Sequence[tuple[str, Callable[[], nn.Module]]],
    pool: Examples,
    targets: Mapping[str, Examples],
    *,
    out: Path,
    k: int | None = None,
    seed: int = 0,
    projection: str = "normal",
    damping: float = 0.0,
    q: str = "mean",
    progress: Progress = SILENT,
) -> Artifact:
    """`scores.parquet` at `out` as `score` writes it, made by traker on the CPU in float32.

    `models` are (content hash, loader) pairs of one architecture; `damping` is traker's `lambda_reg`, in the units of
    its kernel; `k` None: 512, but at most half the pool's windows. Any model works whose parameters are all trainable
    and used: gradients are taken example by example. A killed run continues with the checkpoint it was at: what traker
    itself leaves on disk has no checksum. Raises InputError for a kernel that float32 cannot invert.
    """
    k = max(1, min(NUM_FEATURES, len(pool.windows.example) // 2)) if k is None else k
    _check(models, targets, projection, q, k)
    check_traker(pool, k=k, projection=projection, damping=damping)

    def write(draft: Draft) -> dict:
        windows, folder = pool.windows, draft.state / "traker"
        shutil.rmtree(folder, ignore_errors=True)
        traker = _Traker(models[0][1](), len(windows.example), folder, projection, k, seed, damping)
        total = np.zeros((len(windows.example), len(targets)))
        doubt = np.zeros(len(windows.example))
        num_batches = sum(len(list(_batches(e))) for e in (pool, *targets.values()))

        def of_checkpoint(model_id: int) -> dict[str, np.ndarray]:
            with progress.task(f"traker, checkpoint {model_id + 1} of {len(models)}", num_batches) as advance:
                traker.featurize(models[model_id][1]().state_dict(), model_id, pool, advance)
                # Before `finalize`, which frees a projection that traker draws again only where it has several blocks.
                means = [traker.mean_gradient(target, model_id, advance) for target in targets.values()]
                features, doubts = traker.finalize(model_id)
            return {"scores": features @ np.stack(means, axis=1), "doubt": doubts}

        for model_id in range(len(models)):
            made = saved(draft, f"checkpoint{model_id:03d}", lambda model_id=model_id: of_checkpoint(model_id))
            total += made["scores"] / len(models)
            doubt += made["doubt"] / len(models)
        total *= q_of([doubt], q, "margin")[:, None]
        columns = [np.bincount(windows.example, windows.weights * column, len(pool)) for column in total.T]
        return write_scores(draft, pool, dict(zip(targets, columns, strict=True)), len(models), targets)

    inputs = {"pool": pool.content_hash} | {f"target {name}": target.content_hash for name, target in targets.items()}
    inputs |= {f"model {i}": name for i, (name, _) in enumerate(models)}
    config = {
        "backend": "traker",
        "projection": projection,
        "k": k,
        "damping": damping,
        "q": q,
        "targets": list(targets),
    }
    return build(out, kind="scores", config=config, seed=seed, inputs=inputs, write=write)


def traker_options(*, k: int | None, projection: str, damping: Damping, q: str | None) -> dict[str, Any]:
    """What `score_with_traker` takes, from options as other scorers have them, traker's defaults filled in."""
    assert not isinstance(damping, str)  # what chooses a damping is refused before
    projection = "normal" if projection == "auto" else projection
    return {"k": k, "projection": projection, "damping": damping or 0.0, "q": resolve_q(q, "traker")}


def check_traker(pool: Examples, *, k: int | None, projection: str = "normal", damping: float = 0.0) -> None:
    """Raise InputError for a damping out of range, and for more features than windows without damping."""
    if not 0 <= damping < float("inf"):
        raise InputError(f"damping={damping} is out of range; pass a finite number, 0 or more")
    num_windows = len(pool.windows.example)
    if k is not None and k > num_windows and damping == 0 and projection != "identity":
        raise InputError(
            f"traker's kernel of k={k:,} features over {num_windows:,} windows has no inverse at damping 0; pass a k "
            f"far below {num_windows:,}, or a damping"
        )


class ModelOutput(AbstractModelOutput):
    """f and Q of `thresher.outputs` as traker's task: of any model and batch, language too."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        """Of the tensors of a batch, which traker passes by position."""

    def get_output(self, model: nn.Module, weights: Any, buffers: Any, *batch: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The margin of each example of a batch, [b]."""
        return self._outputs(model, batch).margin

    def get_out_to_loss_grad(self, model: nn.Module, weights: Any, buffers: Any, batch: Sequence[Tensor]) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Q = 1 - p of each example of a batch, [b, 1]."""
        with torch.no_grad():
            return self._outputs(model, batch).doubt[:, None]

    def _outputs(self, model: nn.Module, batch: Sequence[Tensor]) -> Outputs:
        named = dict(zip(self.names, batch, strict=True))
        return outputs_of(logits_of(model, named), named["labels"])


class GradientComputer(IterativeGradientComputer):
    """One example at a time: vmap fails on many `transformers` models, and traker's loop is quadratic in the batch."""

    def compute_per_sample_grad(self, batch: Sequence[Tensor]) -> Float[Tensor, "b p"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Flattened gradients of a batch, example by example. Raises InputError where traker cannot differentiate."""
        one_by_one = super().compute_per_sample_grad
        try:
            return torch.cat([one_by_one(example) for example in _singles(batch)])
        except RuntimeError as error:
            raise InputError(
                "traker cannot differentiate this model's output with respect to all its parameters "
                f"({str(error).splitlines()[0]}); score it with the projections of thresher instead"
            ) from error


class _Traker:
    """A TRAKer for the windows of a pool."""

    def __init__(
        self, model: nn.Module, num_pool: int, folder: Path, projection: str, k: int, seed: int, damping: float
    ) -> None:
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        if projection == "identity":
            self.projector = NoOpProjector(device=torch.device("cpu"))
        else:
            self.projector = BasicProjector(num_parameters, k, seed, ProjectionType(projection), torch.device("cpu"))
        self.task, self.damping = ModelOutput(), damping
        with _quiet():
            self.traker = TRAKer(
                model=model,
                task=self.task,
                train_set_size=num_pool,
                save_dir=str(folder),
                device="cpu",
                gradient_computer=GradientComputer,  # pyright: ignore[reportArgumentType]  # traker means the class
                projector=self.projector,
                use_half_precision=False,
                lambda_reg=damping,
                logging_level=logging.ERROR,
            )

    def featurize(self, state: dict, model_id: int, pool: Examples, advance: Callable) -> None:
        """Load a checkpoint and featurise the pool."""
        self.traker.load_checkpoint(state, model_id=model_id)
        for rows in _batches(pool):
            self.traker.featurize(self._tuple(pool.batch(rows)), inds=rows)
            advance(1)

    def mean_gradient(self, target: Examples, model_id: int, advance: Callable) -> Float[np.ndarray, "k"]:
        """Mean projected gradient of the target examples, scaled as traker's `score` does."""
        total, weights = np.zeros(self.traker.proj_dim), torch.from_numpy(target.windows.weights)
        for rows in _batches(target):
            gradients = self.traker.gradient_computer.compute_per_sample_grad(self._tuple(target.batch(rows)))
            projected = self.projector.project(gradients, model_id=model_id) / self.traker.normalize_factor
            total += (projected.double() * weights[rows, None]).sum(dim=0).numpy()
            advance(1)
        return total / len(target)

    def finalize(self, model_id: int) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n"]]:
        """Features Phi (Phi^T Phi + lambda I)^{-1} and Q of the pool under one checkpoint, by traker."""
        self.traker.saver.load_current_store(model_id)
        store = self.traker.saver.current_store
        _check_kernel(store["grads"], self.damping)
        with _quiet():
            self.traker.finalize_features(model_ids=[model_id])
        self.traker.saver.load_current_store(model_id)
        store = self.traker.saver.current_store
        return np.asarray(store["features"]), np.asarray(store["out_to_loss"])[:, 0]

    def _tuple(self, batch: Batch) -> list[Tensor]:
        self.task.names = tuple(batch)
        return list(batch.values())


def _check_kernel(features: Float[np.ndarray, "n k"], damping: float) -> None:
    """Raise InputError where rounding may take every digit of traker's inverse of the kernel of `features`."""
    k = features.shape[1]
    gram = torch.zeros(k, k, dtype=torch.float64)
    for start in range(0, len(features), ROWS):
        block = torch.from_numpy(np.asarray(features[start : start + ROWS], dtype=np.float64))
        gram.addmm_(block.T, block)
    if not bool(gram.isfinite().all()):
        raise InputError("a model gives examples of the pool gradients that are not finite; leave that model out")
    values = torch.linalg.eigvalsh(gram) + damping
    least, largest = float(values[0]), float(values[-1])
    if not largest * torch.finfo(torch.float32).eps < least:
        raise InputError(
            f"traker's kernel of {k:,} features over {len(features):,} windows is singular in float32 at damping "
            f"{damping:g} (condition number {largest / max(least, 1e-300):.1g}), so its scores cannot be trusted; pass "
            f"a smaller k, or a damping, such as the kernel's mean diagonal, {float(gram.diagonal().mean()):.3g}"
        )


def _batches(examples: Examples) -> Iterator[np.ndarray]:
    """Windows, some at a time."""
    count = len(examples.windows.example)
    return (np.arange(start, min(start + BATCH_SIZE, count)) for start in range(0, count, BATCH_SIZE))


def _singles(batch: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    return ([tensor[i : i + 1] for tensor in batch] for i in range(len(batch[0])))


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop the bars that traker draws, and put back the root logger, which it configures."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    with redirect_stderr(io.StringIO()):
        try:
            yield
        finally:
            root.handlers[:] = handlers


def _check(models: Sequence, targets: Mapping[str, Examples], projection: str, q: str, k: int) -> None:
    if not models or not targets:
        raise InputError(f"{len(models)} models and {len(targets)} targets were given; pass at least one of each")
    for name in targets:
        if name in RESERVED or not name:
            raise InputError(f"a target cannot be named {name!r}, which is a column of its own; give it another name")
    if projection not in TRAKER_PROJECTIONS:
        raise InputError(f"traker has no projection {projection!r}; pass one of: {', '.join(TRAKER_PROJECTIONS)}")
    check_q(q)
    if k < 1:
        raise InputError(f"k={k} is out of range; pass a positive number")
