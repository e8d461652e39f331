"""On a local Ray cluster of two workers, as in processes: the same artefacts, also when a worker is killed at work."""

import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.attribution.cases import digits
from thresher.artifacts import open_artifact
from thresher.cli.main import main
from thresher.errors import InputError
from thresher.executors.jobs import run_jobs
from thresher.progress import Progress
from thresher.proxies import TrainConfig, model_spec, train
from thresher.proxies.settings import ModelSettings
from thresher.studies.experiments.retraining import retrain
from thresher.studies.experiments.training_sets import TrainingSet, random_set
from thresher.studies.experiments.validation import ValidationPlan, validate
from thresher.studies.stages import featurize_study, train_proxies
from thresher.studies.study import AttributionTable, ProxyTable
from thresher.workspace import Workspace

TABLE = ModelSettings(size="mlp-16x1", epochs=5, batch_size=32, learning_rate=0.05)


@pytest.fixture(scope="module")
def cluster():
    """One for all tests here: a second to begin and end each would add up."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@dataclass(frozen=True)
class Job:
    pool: Path
    out: Path
    seed: int
    log: Path
    is_killed: bool


class Watching(Progress):
    """Writes down at which step a training begins; kills its own process at step 20 the first time."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @contextmanager
    def task(self, label, total):
        steps = None

        def advance(count):
            nonlocal steps
            if steps is None:
                steps = 0
                with open(self.job.log, "a") as log:
                    log.write(f"{count} ")
            steps += count
            if self.job.is_killed and steps == 20 and len(self.job.log.read_text().split()) == 1:
                os.kill(os.getpid(), signal.SIGKILL)

        yield advance


def work(job: Job) -> str:
    from thresher.data.examples import open_examples

    pool = open_examples(job.pool)
    recipe = TrainConfig.for_vision(steps=40, batch_size=16, learning_rate=0.05)
    options = {"device": "cpu", "checkpoint_every_seconds": 0, "progress": Watching(job)}
    return train(model_spec("mlp-16x1", pool), pool, out=job.out, config=recipe, seed=job.seed, **options).content_hash


@pytest.mark.slow
def test_a_job_whose_worker_is_killed_goes_on_in_another(cluster, tmp_path):
    pool = digits(tmp_path / "pool", slice(0, 200)).artifact.path
    jobs = [Job(pool, tmp_path / f"{i}", i, tmp_path / f"{i}.log", i == 1) for i in range(4)]
    made = dict(run_jobs(work, jobs, workers=2, executor="ray", device="cpu"))
    begun = [[int(step) for step in job.log.read_text().split()] for job in jobs]
    assert begun == [[0], [0, 19], [0], [0]]
    plain = [Job(pool, tmp_path / f"plain-{i}", i, tmp_path / f"plain-{i}.log", False) for i in range(4)]
    assert made == dict(run_jobs(work, plain, workers=2))


def fail(number):
    if number == 1:
        raise InputError(f"job {number} cannot be done; pass another")
    return number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_what_a_job_raises_arrives_as_it_was_and_a_deadly_job_is_one_line(cluster, monkeypatch):
    with pytest.raises(InputError, match=r"^job 1 cannot be done; pass another$"):
        list(run_jobs(fail, [0, 1, 2], workers=1, executor="ray", device="cpu"))
    assert list(run_jobs(fail, [], workers=None, executor="ray")) == []
    monkeypatch.setattr("thresher.executors.ray_cluster.RETRIES", 1)
    with pytest.raises(InputError, match=r"job 0 ended its Ray worker 2 times \(WorkerCrashedError\)") as caught:
        list(run_jobs(die, [0], workers=None, executor="ray", device="cpu"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_retrainings_checkpoints_features_and_arms_are_the_same_artefacts(cluster, tmp_path):
    pool, target = digits(tmp_path / "pool", slice(0, 150)), digits(tmp_path / "target", slice(150, 180))
    made = {}
    for executor in ("processes", "ray"):
        workspace = Workspace(tmp_path / executor, "cpu", executor=executor)
        workers = 2 if executor == "ray" else 1
        truth = retrain(pool, target, TABLE, num_subsets=3, repeats=1, seed=1, workers=workers, workspace=workspace)
        proxy = ProxyTable(size="mlp-16x1", count=2, epochs=5, batch_size=32, learning_rate=0.05)
        proxies = train_proxies(pool, proxy, seed=0, workspace=workspace)
        stores = featurize_study(proxies, pool, {"t": target}, AttributionTable(k=16), 0, workspace)
        arms = [TrainingSet.of("first", np.arange(50)), random_set(pool.lengths(), 50, num_repeats=2, seed=0)]
        plan = ValidationPlan(num_seeds=2, workers=workers)
        compared = validate(pool, arms, {"t": target}, {}, model=TABLE, plan=plan, seed=0, workspace=workspace)
        made[executor] = [truth.artifact, compared, *proxies, *stores.values()]
    for one, other in zip(*made.values(), strict=True):
        assert one.kind == other.kind and one.path != other.path
        assert one.meta["config"] == other.meta["config"]
        numbers = [_numbers(artifact.path) for artifact in (one, other)]
        assert numbers[0].keys() == numbers[1].keys() and numbers[0]
        for name, values in numbers[0].items():
            # Other threads, and small models in other groups: rounding.
            np.testing.assert_allclose(values, numbers[1][name], rtol=1e-3, atol=1e-4)


def _numbers(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    arrays = {file.name: np.load(file) for file in folder.glob("*.npy")}
    for file in folder.glob("*.safetensors"):
        arrays |= {
            f"{file.name}/{name}": tensor for name, tensor in load_file(file).items() if tensor.dtype != np.uint8
        }
    return arrays or {"losses": np.array([row["mean"] for row in open_artifact(folder).facts["paired"]])}


def test_bad_requests_are_one_line(tmp_path, monkeypatch, capsys):
    pool, target = digits(tmp_path / "pool", slice(0, 60)), digits(tmp_path / "target", slice(60, 90))
    command = ["lds", "--pool", str(pool.artifact.path), "--target", str(target.artifact.path), "--subsets", "4"]
    command += ["--out", str(tmp_path / "out"), "--model", "mlp-8x1", "--executor"]
    assert main([*command, "slurm"]) == 2
    assert "executor 'slurm' is unknown; pass one of: processes, ray" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert main([*command, "ray"]) == 2
    assert "executor 'ray' needs the package ray; install it: pip install 'thresher[ray]'" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_one_line(monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(**options):
        raise ConnectionError(f"nothing at {options['address']}\nat all")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(InputError, match=r"Ray does not start on this machine \(nothing at local\)"):
        list(run_jobs(fail, [0], workers=1, executor="ray"))
    monkeypatch.setenv("RAY_ADDRESS", "far:1")
    with pytest.raises(
        InputError, match=r"RAY_ADDRESS=far:1: no Ray cluster answers there \(nothing at far:1\)"
    ) as caught:
        list(run_jobs(fail, [0], workers=1, executor="ray"))
    assert "\n" not in str(caught.value)
