"""How well does attribution predict retraining? Checkpoints, ground truth, scorers and their LDS, in one workspace."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.artifacts import Artifact, Draft, build, hash_file
from thresher.attribution.features.featurize import featurize
from thresher.attribution.features.store import FeatureStore, open_features
from thresher.attribution.quality import baselines
from thresher.attribution.quality.lds import lds, lds_table, noise_ceiling, predict_outputs
from thresher.attribution.scoring.dual import dual_scores
from thresher.attribution.scoring.options import Options
from thresher.attribution.scoring.scores import score_blocks
from thresher.data.examples import Examples, TokenExamples
from thresher.errors import InputError
from thresher.proxies.models.spec import task_of
from thresher.proxies.models.weights import loaders_of
from thresher.proxies.settings import ModelSettings
from thresher.proxies.trials import Trial, train_trials
from thresher.seeds import run_seed
from thresher.studies.experiments.retraining import Retrainings
from thresher.workspace import Workspace

SCORERS = ("trak", "dual", "cosine", "embedding", "bm25", "random")


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """How checkpoints are turned into scores."""

    k: int | None = None
    projection: str = "auto"
    views: tuple[str, ...] = ()
    damping: float | str | None = None
    q: str = "sqrt"
    seed: int = 0


def train_checkpoints(
    pool: Examples, table: ModelSettings, *, count: int, seed: int, workers: int | None, workspace: Workspace
) -> list[Path]:
    """`count` models on the whole pool, each from its own initialisation and order, several at once."""
    if count < 1:
        raise InputError(f"checkpoints={count}; pass 1 or more")
    everything = np.arange(len(pool))
    trials = [
        Trial("whole", m, run_seed(seed, "checkpoint", m), everything, folder="checkpoints") for m in range(count)
    ]
    models = train_trials(pool, table, trials, label="checkpoints", workers=workers, workspace=workspace)
    return [model.path for model in models]


class Scorers:
    """Scores of every (pool, target) pair by name, as blocks; features are made when a scorer first needs them."""

    def __init__(
        self, models: Sequence[Path], pool: Examples, target: Examples, settings: Attribution, workspace: Workspace
    ) -> None:
        self.models, self.pool, self.target, self.settings, self.workspace = models, pool, target, settings, workspace

    def blocks(self, name: str) -> baselines.Blocks:
        """The scores of one of SCORERS, block by block of the pool."""
        known: dict[str, Callable[[], baselines.Blocks]] = {
            "trak": lambda: score_blocks(*self.stores, damping=self.settings.damping, q=self.settings.q),
            "dual": self._dual,
            "cosine": lambda: baselines.gradient_cosines(*self.stores),
            "embedding": self._embedding,
            "bm25": self._bm25,
            "random": lambda: baselines.random_scores(len(self.pool), len(self.target), seed=self.settings.seed),
        }
        return known[name]()

    @cached_property
    def stores(self) -> tuple[FeatureStore, FeatureStore]:
        """Features of pool and target, made once."""
        options = {"k": self.settings.k, "projection": self.settings.projection, "seed": self.settings.seed}
        options |= {"views": self.settings.views} if self.settings.views else {}
        hashes = [content_hash for content_hash, _ in self._loaders]

        def store(name: str, examples: Examples) -> FeatureStore:
            out = self.workspace.place(f"features/{name}", hashes, examples.content_hash, options)
            place = {
                "device": self.workspace.device,
                "progress": self.workspace.progress,
                "executor": self.workspace.executor,
            }
            return open_features(featurize(self._loaders, examples, out=out, **options, **place).path)

        return store("pool", self.pool), store("target", self.target)

    @cached_property
    def _loaders(self):
        return loaders_of([str(path) for path in self.models], self.pool, self.target)

    def _dual(self) -> baselines.Blocks:
        damping = self.settings.damping if isinstance(self.settings.damping, float | int) else None
        options = Options(damping=damping, q=self.settings.q, device=self.workspace.device)
        yield 0, dual_scores(self._loaders, self.pool, self.target, options=options, progress=self.workspace.progress)

    def _embedding(self) -> baselines.Blocks:
        loaded = (load() for _, load in self._loaders)
        return baselines.embedding_cosines(loaded, self.pool, self.target, device=self.workspace.device)

    def _bm25(self) -> baselines.Blocks:
        # Whole texts as the source has them: previews add the end token and, where there are classes, their names.
        assert isinstance(self.pool, TokenExamples) and isinstance(self.target, TokenExamples)
        texts = [examples.texts(range(len(examples))) for examples in (self.pool, self.target)]
        return baselines.bm25_scores(*texts)


def judge(
    scorers: Scorers,
    truth: Retrainings,
    names: Sequence[str],
    *,
    given: Mapping[str, Path] | None = None,
    output: str = "margin",
    baseline: str | None = None,
    seed: int = 0,
) -> Artifact:
    """LDS of each named scorer, and of `given` score matrices (`.npy` [n, t]), against one ground truth.

    An artefact of kind "lds": `lds.parquet` (scorer, target_id, lds), and as facts the `table` of means with 95 %
    intervals over subsets and targets, and the `ceiling`. `output`: margin, or loss (negated).
    """
    check_scorers(names, scorers.pool)
    given = given or {}
    inputs = {"retrainings": truth.artifact.content_hash, "pool": scorers.pool.content_hash}
    inputs |= {f"model {m}": content_hash for m, (content_hash, _) in enumerate(scorers._loaders)}
    inputs |= {f"scores {name}": hash_file(path) for name, path in given.items()}
    config = {"scorers": list(names), "output": output, "baseline": baseline, **asdict(scorers.settings)}

    def write(draft: Draft) -> dict:
        outputs, subsets = truth.outputs(output), truth.subsets
        if output == "loss":
            outputs = -outputs
        predicted = {name: predict_outputs(scorers.blocks(name), subsets) for name in names}
        predicted |= {name: predict_outputs([(0, _matrix(path, scorers))], subsets) for name, path in given.items()}
        values = {name: lds(p, outputs.mean(axis=1)) for name, p in predicted.items()}
        with draft.file("lds.parquet") as file:
            columns = {
                "scorer": np.repeat(list(values), len(scorers.target)),
                "lds": np.concatenate([*values.values()]),
            }
            pq.write_table(pa.table(columns | {"target_id": [*scorers.target.ids] * len(values)}), file)
        table = lds_table(predicted, outputs, baseline=baseline, seed=seed)
        plain = {name: {key: asdict(value) for key, value in row.items()} for name, row in table.items()}
        num_subsets, repeats, num_targets = outputs.shape
        facts = {"table": plain, "num_subsets": num_subsets, "repeats": repeats, "num_targets": num_targets}
        facts |= {"fraction": float(subsets[0].mean()), "num_pool": subsets.shape[1]}
        if repeats > 1:
            facts["ceiling"] = {key: asdict(value) for key, value in noise_ceiling(outputs, seed=seed).items()}
        return facts

    out = scorers.workspace.place("lds", config, inputs, seed)
    return build(out, kind="lds", config=config, seed=seed, inputs=inputs, write=write)


def check_scorers(names: Sequence[str], pool: Examples) -> None:
    """Refuse scorers that are unknown or do not apply to this pool."""
    for name in names:
        if name not in SCORERS:
            raise InputError(f"scorer {name!r} is unknown; pass some of: {', '.join(SCORERS)}")
    if "bm25" in names and task_of(pool) != "language":
        raise InputError("scorer 'bm25' compares texts, and this pool is images; leave it out")


def _matrix(path: Path, scorers: Scorers) -> np.ndarray:
    scores, wanted = np.load(path, allow_pickle=False), (len(scorers.pool), len(scorers.target))
    if scores.shape != wanted:
        raise InputError(f"{path} has shape {scores.shape}; scores [pool, target] are {wanted} here")
    return scores
