"""Ground truth for attribution: the model retrained on random subsets of the pool, and what it then makes of a target.

An artefact of kind "retrainings": `subsets.npy` [m, n] (bool), `margin.npy`, `loss.npy`, `confidence.npy`,
`correct.npy` [m, r, t] in float32, `targets.parquet` (id). Every scorer is judged by the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float, Int
from safetensors.numpy import load_file, save_file

from thresher.artifacts import Artifact, Draft, build, discard, is_sound, open_artifact, piece
from thresher.attribution.quality.lds import draw_subsets
from thresher.data.examples import Examples, open_examples
from thresher.errors import InputError
from thresher.executors.jobs import run_jobs
from thresher.executors.workers import num_workers
from thresher.outputs import Outputs
from thresher.proxies.evaluation import evaluate
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.weights import open_model
from thresher.proxies.planned import Planned, say_planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.chosen import spec_of, train_config_of
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.stacked import Member, train_stack
from thresher.proxies.trials import groups_of_trials
from thresher.seeds import numpy_rng, run_seed
from thresher.selection.budget import Budget, take
from thresher.workspace import Workspace


@dataclass(frozen=True)
class Retrainings:
    """A finished ground truth, read."""

    artifact: Artifact

    @property
    def subsets(self) -> Bool[np.ndarray, "m n"]:
        """Which of the pool's examples each subset holds."""
        return np.load(self.artifact.file("subsets.npy"))

    def outputs(self, name: str) -> Float[np.ndarray, "m r t"]:
        """Outputs `name` (margin, loss, confidence or correct) of subset, repeat and target example."""
        return np.load(self.artifact.file(f"{name}.npy"))

    def to_predict(self, output: str) -> Float[np.ndarray, "m r t"]:
        """What scores are judged by, higher = better: the margin, or the loss negated."""
        values = self.outputs(output)
        return -values if output == "loss" else values


def open_retrainings(path: Path) -> Retrainings:
    """A finished ground truth from disk."""
    return Retrainings(open_artifact(path, "retrainings"))


def subsets_of(
    lengths: Int[np.ndarray, "n"], num_subsets: int, fraction: float, seed: int
) -> tuple[Bool[np.ndarray, "m n"], int]:
    """Random subsets that each hold `fraction` of all tokens (images), and how much that is."""
    subsets = draw_subsets(num_subsets, len(lengths), fraction, seed)  # of examples; refuses what cannot be
    budget = Budget(fraction=fraction).of(lengths).total
    if lengths.min() != lengths.max():
        subsets[:] = False
        for s, subset in enumerate(subsets):
            subset[take(numpy_rng(seed, "subset", s).permutation(len(lengths)), budget, lengths).kept] = True
    return subsets, min(budget, int((subsets @ lengths).min()))


@dataclass(frozen=True)
class _Retraining:
    folder: Path
    """Of the model while it trains."""
    result: Path
    indices: np.ndarray
    seed: int
    budget: int


@dataclass(frozen=True)
class _Job:
    """Retrainings that are trained as one."""

    spec: dict
    train_config: TrainConfig
    pool: Path
    target: Path
    device: str
    runs: Sequence[_Retraining]


def retrain(
    pool: Examples,
    target: Examples,
    table: ModelSettings,
    *,
    num_subsets: int = 100,
    fraction: float = 0.5,
    repeats: int = 2,
    seed: int = 0,
    workers: int | None = None,
    workspace: Workspace,
) -> Retrainings:
    """Train `table` on `num_subsets` random subsets of `fraction` of the pool, from `repeats` seeds each.

    All subsets have the same seeds (common random numbers): what an initialisation does to all of them alike is no part
    of how they differ.

    The fraction is of its tokens (images): subsets hold that, to within the document that reaches it, and all models
    are trained on exactly that, so that what retraining shows is what is in a subset and not how much there is.
    Run by run resumable, `workers` processes at once (None: one a core; one on a GPU). Models are not kept.
    """
    subsets, budget = subsets_of(np.asarray(pool.lengths()), num_subsets, fraction, seed)
    if repeats < 1:
        raise InputError(f"repeats={repeats}; pass 1 or more")
    spec = spec_of(table, pool)
    check_all(spec, (pool, target))
    train_config = train_config_of(table, spec, pool)
    config = {"spec": spec, "train_config": train_config.record, "num_subsets": num_subsets, "fraction": fraction}
    config |= {"repeats": repeats, "seeds": "of all subsets"}
    inputs = {"pool": pool.content_hash, "target": target.content_hash}
    where = {"workers": workers, "executor": workspace.executor, "device": workspace.device}
    num_workers(workers, workspace.device, workspace.executor)  # refuses what cannot be, before anything is written

    def write(draft: Draft) -> dict:
        runs = [
            _Retraining(
                folder=draft.state / f"run-{s:04d}-{r}",
                result=draft.state / f"run-{s:04d}-{r}.safetensors",
                indices=np.flatnonzero(subsets[s]),
                seed=run_seed(seed, "retraining", r),
                budget=budget,
            )
            for s, r in np.ndindex(num_subsets, repeats)
        ]
        # Grouped before looking what is there: a model's last bits may depend on those it is trained with.
        missing = {run.result for run in runs if not is_sound(run.result)}
        jobs = [
            _Job(spec, train_config, pool.artifact.path, target.artifact.path, workspace.device, group)
            for group in groups_of_trials(spec, train_config, runs, workers, workspace)
            if any(run.result in missing for run in group)
        ]
        to_train = Planned(table, [float(budget)] * sum(len(job.runs) for job in jobs), keeps=False)
        say_planned([to_train], pool, workers=workers, workspace=workspace)
        with workspace.progress.task("retrainings", len(runs)) as advance:
            advance(len(runs) - sum(len(job.runs) for job in jobs))
            for position, _ in run_jobs(_run, jobs, **where):
                advance(len(jobs[position].runs))
        results = [load_file(run.result) for run in runs]
        for name in Outputs._fields:
            values = np.stack([result[name] for result in results]).reshape(num_subsets, repeats, len(target))
            with draft.file(f"{name}.npy") as file:
                np.save(file, values)
        with draft.file("subsets.npy") as file:
            np.save(file, subsets)
        with draft.file("targets.parquet") as file:
            pq.write_table(pa.table({"id": pa.array(target.ids, pa.string())}), file)
        accuracy = float(np.mean([result["correct"].mean() for result in results]))
        flops = sum(int(result["flops"][0]) for result in results)
        return {
            "num_runs": len(runs),
            "budget": budget,
            "accuracy": accuracy,
            "flops": flops,
            "num_targets": len(target),
        }

    out = workspace.place(
        "retrainings", spec, train_config.record, inputs, num_subsets, fraction, repeats, seed, "seeds of all"
    )
    return Retrainings(build(out, kind="retrainings", config=config, seed=seed, inputs=inputs, write=write))


def _run(job: _Job) -> None:
    """Retrainings in whichever process: the outputs on the target of each land in its `result`."""
    pool, target = open_examples(job.pool), open_examples(job.target)
    members = [Member(run.folder, run.seed, run.indices, run.budget) for run in job.runs]
    models = train_stack(job.spec, pool, members, config=job.train_config, device=job.device)
    for run, trained in zip(job.runs, models, strict=True):
        outputs = evaluate(open_model(trained.path), target, device=job.device)
        with piece(run.result) as file:
            save_file(outputs | {"flops": np.array([trained.facts["flops"]], dtype=np.int64)}, file)
        discard(run.folder)
