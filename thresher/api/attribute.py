"""`thresher.attribute`: what every training example did to every test example, from a model and two data sets."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from thresher.api.loaders import Data, data_of, own_randomness
from thresher.api.measuring import Task, Variation, measure
from thresher.api.plain import PlainFeaturizer
from thresher.api.planning import EXACT, HELD, AttributionPlan, plan_of
from thresher.api.reading import Loss, Readable, form_of
from thresher.api.result import Attribution
from thresher.api.weights import Checkpoints, bare, borrowed, num_trainable
from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.gradients.featurizer import Featurizer
from thresher.attribution.identity import identity_of_module
from thresher.attribution.scoring.dual import ExactTask
from thresher.attribution.scoring.kernel import Kernel, factorise
from thresher.attribution.scoring.options import Options
from thresher.attribution.scoring.weighting import q_of
from thresher.canonical import hash_json
from thresher.devices import pick_device
from thresher.errors import InputError
from thresher.progress import SILENT, Progress
from thresher.rules import ruled

ROWS = 4096
"""Training examples whose scores are in memory at once."""


@ruled
def attribute(
    model: nn.Module,
    train: Any,
    test: Any,
    *,
    checkpoints: Sequence[Any] | None = None,
    loss: Loss | None = None,
    method: str = "auto",
    k: int | None = None,
    damping: float | None = None,
    q: str = "sqrt",
    parameters: str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    cache: str | Path | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Attribution:
    """What every training example did to the model's output on every test example, [n_train, n_test].

    A positive score helps: without the training example the model would do worse on the test example (TRAK, Park et
    al. 2023, arXiv 2303.14186). The model is left as it was: its mode, device, gradients and hooks.

    model        a torch.nn.Module: logits [b, classes] for labels [b], or [b, t, vocabulary] for labels [b, t];
                 models of `transformers` as they are
    train, test  Datasets or DataLoaders of (x, y), lists of (x, y), `datasets.Dataset`, or dictionaries with `labels`
                 and `input_ids` or `pixel_values`. A DataLoader gives its collate_fn and batch size; examples keep the
                 order of the data set, shuffled or not. Labels [b, t] beside inputs that they repeat are read as
                 `transformers` reads them (position j is predicted at j - 1), others as cross_entropy does.
    checkpoints  state dicts, their files, or modules of the same architecture, in place of the model's own weights;
                 scores are means over them
    loss         for any other task: a function (outputs, batch) -> the loss of each example, [b]; labels are optional
    method       exact (no projection), or a projection: two-sided, sjlt, two-sided-layers, factor-mask, mask+sjlt,
                 normal, rademacher; auto: exact where it is cheap, else sjlt
    k            numbers that a gradient is projected to, at most as many as it has; None: 4096, for text 8192
    damping      a multiple of the kernel's mean diagonal; None: 3 for exact, 1 for projections or, if more, 3 k / n
    q            what scores are multiplied by: sqrt of 1 - p of the right class, mean (1 - p itself), square, none
    parameters   a regular expression: only the gradients of the parameters that it finds
    device       auto, cpu, cuda, cuda:1, mps; a model elsewhere is copied there
    batch_size   examples in a batch; None: the DataLoader's, or 32
    cache        a folder: the same weights, code, data and options are opened from there the next time; None: a
                 temporary file, removed with the result
    seed         of the projections

    Raises InputError, one line, for data, models and options that cannot be attributed with.
    """
    with own_randomness():
        model, place = bare(model), pick_device(device)
        sides = data_of(train, "train", batch_size), data_of(test, "test", batch_size)
        models = Checkpoints(model, checkpoints, place)
        with borrowed(models.model, parameters) as working:
            form = form_of(working, sides[0], needs_labels=loss is None)
            task = Task(form, loss)
            options = {"damping": damping, "q": q, "parameters": parameters, "seed": seed}
            plan = plan_of(working, task, sides, method=method, k=k, kept=cache is not None, **options)
            work = _Work(models, sides, task, plan, place, progress)
            artifact, folder = work.artifact(cache)
    result = Attribution(artifact, own_randomness()(sides[0].row))
    if folder is not None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
    return result


@dataclass
class _Work:
    models: Checkpoints
    sides: tuple[Data, Data]
    task: Task
    plan: AttributionPlan
    device: torch.device
    progress: Progress

    def artifact(self, cache: str | Path | None) -> tuple[Artifact, Path | None]:
        """The finished scores, and the folder to remove with them."""
        config = asdict(self.plan) | {"shape": self.shape, "num_checkpoints": len(self.models)}
        request: dict[str, Any] = {"kind": "attribution", "config": config, "seed": self.plan.seed}
        if cache is None:
            folder = Path(tempfile.mkdtemp(prefix="thresher-"))
            try:
                return build(folder / "attribution", **request, inputs={}, write=self.write), folder
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        inputs = {data.name: data.content_hash() for data in self.sides}
        for m in range(len(self.models)):
            inputs[f"model {m}"] = identity_of_module(self.models.load(m))
        place = Path(cache).expanduser() / f"attribution-{hash_json([request, inputs])[:16]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        return build(place, **request, inputs=inputs, write=self.write), None

    @property
    def shape(self) -> list[int]:
        return [len(data) for data in self.sides]

    def write(self, draft: Draft) -> dict[str, Any]:
        """`scores.npy` and, of several checkpoints, `spread.npy`, both float32 [n_train, n_test]."""
        quality = [self._measured(m) for m in range(len(self.models))]
        mean = self._array(draft.state / "mean.npy")
        squares = self._array(draft.state / "squares.npy") if len(self.models) > 1 else None
        doubts: list[np.ndarray] = []
        for m in range(len(self.models)):
            for start, block in self._scores(m, draft, doubts):
                rows = slice(start, start + len(block))
                # Welford: mean and sum of squared deviations over the checkpoints so far.
                change = block - mean[rows]
                mean[rows] += change / (m + 1)
                if squares is not None:
                    squares[rows] += change * (block - mean[rows])
        weights = q_of(doubts, self.plan.q, "margin")
        self._save(draft, "scores", mean, weights, lambda values: values)
        if squares is not None:
            self._save(draft, "spread", squares, weights, lambda values: np.sqrt(values / (len(self.models) - 1)))
        return {"quality": quality}

    def _measured(self, m: int) -> dict[str, dict[str, float]]:
        model, varies = self.models.load(m), Variation()
        quality = {data.name: measure(model, self.task, data, self.device, varies) for data in self.sides}
        varies.check("the model" if self.models.sources is None else f"checkpoint {m}")
        return quality

    def _scores(self, m: int, draft: Draft, doubts: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Blocks (first row, float64 [rows, n_test]) of one checkpoint; its doubts [n_train] are added first."""
        model = self.models.load(m)
        if self.plan.method == EXACT and not self.task.is_plain:
            made = self._exact(model, m)
            doubts.append(made["doubt"])
            yield 0, made["scores"]
            return
        train, doubt = self._features(model, m, self.sides[0], draft.state / "train.npy")
        test, _ = self._features(model, m, self.sides[1], draft.state / "test.npy")
        doubts.append(doubt)
        # K^{-1} on the shorter side: G (G^T G + lambda I)^{-1} g = (G G^T + lambda I)^{-1} G g.
        if self.plan.method == EXACT:
            kernel = self._kernel(_products(train, train))
            yield 0, kernel.solve(_products(train, test)).numpy()
            return
        gram = torch.zeros(train.shape[1], train.shape[1], dtype=torch.float64)
        for low in range(0, len(train), ROWS):
            block = torch.from_numpy(train[low : low + ROWS]).double()
            gram.addmm_(block.T, block)
        solved = self._kernel(gram).solve(torch.from_numpy(np.asarray(test)).T)
        for low in range(0, len(train), ROWS):
            yield low, (torch.from_numpy(train[low : low + ROWS]).double() @ solved).numpy()

    def _kernel(self, gram: Tensor) -> Kernel:
        return factorise(gram, self.plan.damping * float(gram.diagonal().mean()))

    def _exact(self, model: nn.Module, m: int) -> dict[str, np.ndarray]:
        form = self.task.form
        pool, targets = (Readable(data, form) for data in self.sides)
        options = Options(
            damping=self.plan.damping, q=self.plan.q, batch_tokens=self.sides[0].batch_size, device=str(self.device)
        )
        # The content hash is not read: nothing of it is kept on disk.
        models = [("", lambda: form.wrap(model))]
        return ExactTask(models, pool, {"test": targets}, options, every=True).run(0, self.progress)

    def _features(self, model: nn.Module, m: int, data: Data, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Features [n, k] in float32, in a file, and doubts [n] in float64."""
        projection = "identity" if self.plan.method == EXACT else self.plan.method
        options = {"projection": projection, "k": self.plan.k or 1, "seed": self.plan.seed, "model_id": m}
        doubt, features = np.zeros(len(data)), None
        most = max(1, HELD // num_trainable(model)) if projection != "two-sided" else data.batch_size
        label = f"gradients of {data.name}, checkpoint {m + 1} of {len(self.models)}"
        with (
            closing(self._featurizer(model, data, options)) as featurizer,
            self.progress.task(label, len(data)) as done,
        ):
            for whole in data.positions():
                for low in range(0, len(whole), most):
                    indices = whole[low : low + most]
                    values, doubted = self._read(featurizer, data, indices)
                    if features is None:
                        shape = (len(data), values.shape[1])
                        features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
                    features[indices], doubt[indices] = values, doubted
                    done(len(indices))
        assert features is not None
        return features, doubt

    def _featurizer(self, model: nn.Module, data: Data, options: dict[str, Any]) -> Featurizer | PlainFeaturizer:
        if self.task.is_plain:
            return PlainFeaturizer(model, self.task, data.name, **options)
        return Featurizer(self.task.form.wrap(model), **options)

    def _read(
        self, featurizer: Featurizer | PlainFeaturizer, data: Data, indices: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        batch = data.batch(indices)
        if isinstance(featurizer, PlainFeaturizer):
            values, doubted = featurizer(batch)
        else:
            values, outputs = featurizer(self.task.form.engine_batch(batch, data.name))
            doubted = outputs.doubt
        values = values.detach().float().cpu().numpy()
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise InputError(
                f"the gradient of {data.name} example {int(indices[bad.argmax()])} is not finite; check that the model "
                "did not diverge"
            )
        return values, doubted.cpu().numpy()

    def _array(self, path: Path) -> np.ndarray:
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=tuple(self.shape))

    def _save(self, draft: Draft, name: str, values: np.ndarray, weights: np.ndarray, change: Any) -> None:
        with draft.file(f"{name}.npy") as file:
            out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=tuple(self.shape))
            for low in range(0, len(values), ROWS):
                out[low : low + ROWS] = change(values[low : low + ROWS]) * weights[low : low + ROWS, None]
            out.flush()


def _products(left: np.ndarray, right: np.ndarray) -> Float[Tensor, "n t"]:
    """Inner products of rows, in float64, some columns at a time."""
    total = torch.zeros(len(left), len(right), dtype=torch.float64)
    step = max(1, HELD // 8 // max(len(left), len(right)))
    for low in range(0, left.shape[1], step):
        some, others = (torch.from_numpy(side[:, low : low + step]).double() for side in (left, right))
        total.addmm_(some, others.T)
    return total
