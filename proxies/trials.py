"""Trials: models of given settings, each trained on given data from a given seed, and measured; many at once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from thresher.artifacts import Artifact, is_artifact
from thresher.data.examples import Examples, open_examples
from thresher.errors import InputError
from thresher.executors.jobs import run_jobs
from thresher.executors.workers import num_workers
from thresher.progress import SILENT
from thresher.proxies.evaluation import measure
from thresher.proxies.models.fits import check_all
from thresher.proxies.models.spec import Spec
from thresher.proxies.planned import Planned
from thresher.proxies.settings import ModelSettings
from thresher.proxies.training.chosen import spec_of, train_config_of
from thresher.proxies.training.config import TrainConfig
from thresher.proxies.training.last_steps import LastSteps
from thresher.proxies.training.order import num_steps
from thresher.proxies.training.request import hash_array
from thresher.proxies.training.single import train
from thresher.proxies.training.stacked import Member, groups_of, train_stack
from thresher.workspace import Workspace


@dataclass(frozen=True)
class Trial:
    """One model to train: on which training set, which repeat of it, and from which seed."""

    training_set: str
    """The name of what it is trained on."""
    repeat: int
    seed: int
    indices: Int[np.ndarray, "n"]
    """Positions in the pool, an example as often as it is to be seen in an epoch."""
    budget: int | None = None
    """Tokens (images) of an epoch; None: all that `indices` hold."""
    mixture: Mapping[str, float] | None = None
    """The share of each domain in an epoch; None: as they come."""
    folder: str = "models"
    """Where in the workspace the model lies."""

    @property
    def name(self) -> str:
        """A name for files: the training set and the repeat."""
        return trial_name(self.training_set, self.repeat)


def trial_name(training_set: str, repeat: int) -> str:
    """What a trial of `training_set` is called in files and in the inputs of what is made of it."""
    plain = re.sub(r"[^\w.-]+", "-", training_set)
    return f"{plain}-{repeat}"


def check_names(trials: Sequence[Trial]) -> None:
    """Refuse training sets whose trials would be called alike in files and results, as "top 10" and "top-10" are."""
    names: dict[str, Trial] = {}
    for trial in trials:
        first = names.setdefault(trial.name, trial)
        if first.training_set != trial.training_set:
            raise InputError(
                f"{first.training_set!r} and {trial.training_set!r} are both {trial.name!r} in files; rename one"
            )


@dataclass(frozen=True)
class TrialResult:
    """A finished trial: its model, and what the model makes of every task."""

    trial: Trial
    model: Artifact
    evaluation: Artifact

    @property
    def training(self) -> dict[str, Any]:
        """How the model was trained: every setting, those that nobody named too."""
        spec, training = (self.model.meta["config"][part] for part in ("spec", "training"))
        of_ladder = {"parametrization": spec.get("parametrization", "standard")} if spec["source"] == "ladder" else {}
        return {"shuffle_sequences": False, **training, **of_ladder}


@dataclass(frozen=True)
class _Setup:
    """What trials share: worked out once, because hashing a large checkpoint takes long."""

    pool: Examples
    settings: ModelSettings
    workspace: Workspace
    spec: Spec
    config: TrainConfig
    last: LastSteps | None
    """What the models are measured on at their last steps; None: they are measured at the end alone."""

    @classmethod
    def of(
        cls, pool: Examples, settings: ModelSettings, workspace: Workspace, last: LastSteps | None = None
    ) -> "_Setup":
        """Raises InputError for a model or settings that cannot be."""
        spec = spec_of(settings, pool)
        return cls(pool, settings, workspace, spec, train_config_of(settings, spec, pool), last)

    def check_last(self, trials: Sequence[Trial]) -> None:
        """Raise InputError for a trial that has fewer steps than are to be looked at."""
        if self.last is not None and trials:
            lengths = np.asarray(self.pool.lengths())
            shortest = min(trial.budget or int(lengths[trial.indices].sum()) for trial in trials)
            self.last.check(num_steps(self.pool, self.config, shortest))

    def place(self, trial: Trial) -> Path:
        """Where the model of `trial` lies, whether it is there or not."""
        made_from = [self.spec, self.config.record, self.pool.content_hash, hash_array(trial.indices)]
        mixture = None if trial.mixture is None else dict(trial.mixture)
        name, on_the_way = f"{trial.folder}/{trial.name}", [] if self.last is None else [self.last.record]
        return self.workspace.place(name, *made_from, trial.seed, trial.budget, mixture, *on_the_way)

    def train(self, trial: Trial) -> Artifact:
        return train(
            self.spec,
            self.pool,
            out=self.place(trial),
            config=self.config,
            seed=trial.seed,
            indices=trial.indices,
            budget=trial.budget,
            mixture=None if trial.mixture is None else dict(trial.mixture),
            last=self.last,
            device=self.workspace.device,
            progress=self.workspace.progress,
        )

    def train_together(self, trials: Sequence[Trial]) -> None:
        """As one stack where the model can be stacked and no domains are mixed; else one by one."""
        if any(trial.mixture is not None for trial in trials):
            for trial in trials:
                self.train(trial)
            return
        members = [Member(self.place(trial), trial.seed, trial.indices, trial.budget) for trial in trials]
        where = {"device": self.workspace.device, "progress": self.workspace.progress}
        train_stack(self.spec, self.pool, members, config=self.config, last=self.last, **where)

    def result(self, trial: Trial, tasks: Mapping[str, Examples]) -> TrialResult:
        model = self.train(trial)
        hashes = {name: examples.content_hash for name, examples in tasks.items()}
        out = self.workspace.place(f"evaluations/{trial.name}", model.content_hash, hashes)
        return TrialResult(trial, model, measure(model, tasks, out=out, workspace=self.workspace))


def planned(
    pool: Examples,
    settings: ModelSettings,
    trials: Sequence[Trial],
    workspace: Workspace,
    last: LastSteps | None = None,
) -> Planned:
    """Those of the trials whose models are not there yet, for `say_planned`.

    Raises InputError for a trial with fewer steps than are to be looked at, and for names that files cannot tell apart.
    """
    check_names(trials)
    setup, lengths = _Setup.of(pool, settings, workspace, last), np.asarray(pool.lengths())
    setup.check_last(trials)
    missing = [trial for trial in trials if not is_artifact(setup.place(trial))]
    return Planned(settings, [float(trial.budget or lengths[trial.indices].sum()) for trial in missing])


def train_trial(pool: Examples, settings: ModelSettings, trial: Trial, workspace: Workspace) -> Artifact:
    """The model of one trial; what is there already is only opened."""
    return _Setup.of(pool, settings, workspace).train(trial)


def train_trials(
    pool: Examples,
    settings: ModelSettings,
    trials: Sequence[Trial],
    *,
    label: str,
    workers: int | None,
    workspace: Workspace,
) -> list[Artifact]:
    """The models of all trials, `workers` at once, in their order; what is there already is only opened.

    `label` names the work in the progress bar. `workers` None: one a core, or one on a GPU.
    """
    setup = _Setup.of(pool, settings, workspace)
    _train_missing(setup, trials, {}, label=label, workers=workers)
    return [setup.train(trial) for trial in trials]


def run_trials(
    pool: Examples,
    settings: ModelSettings,
    trials: Sequence[Trial],
    tasks: Mapping[str, Examples],
    *,
    label: str,
    workers: int | None,
    workspace: Workspace,
    average: int = 1,
) -> list[TrialResult]:
    """Train and measure all trials, `workers` at once; then every result, in the order of the trials.

    With `average` above 1 the models are measured at so many of their last steps (the fact `last_steps` of each).
    Raises InputError, before anything is trained, for a model or tasks that do not fit the pool, for a trial with fewer
    steps than that, and for names that files cannot tell apart. Each model and each evaluation is an artefact of its
    own, so a killed call goes on with the first that is missing.
    """
    check_names(trials)
    setup = _Setup.of(pool, settings, workspace, LastSteps.of(tasks, average))
    check_all(setup.spec, (pool, *tasks.values()))
    setup.check_last(trials)
    _train_missing(setup, trials, tasks, label=label, workers=workers)
    silent = replace(setup, workspace=Workspace(workspace.root, workspace.device, SILENT))
    return [silent.result(trial, tasks) for trial in trials]


def groups_of_trials(
    spec: Spec, config: TrainConfig, trials: Sequence[Any], workers: int | None, workspace: Workspace
) -> list[list[Any]]:
    """Trials (anything with `indices` and `budget`) that are trained as one, shared out among the workers."""
    # A stack sees examples as they are, so trials on mixtures are made one by one.
    mixed = [trial for trial in trials if getattr(trial, "mixture", None) is not None]
    plain = [trial for trial in trials if getattr(trial, "mixture", None) is None]
    sizes = [(len(trial.indices), trial.budget) for trial in plain]
    groups = groups_of(spec, config, sizes, num_workers(workers, workspace.device, workspace.executor))
    return [[plain[position] for position in group] for group in groups] + [[trial] for trial in mixed]


@dataclass(frozen=True)
class _Job:
    """Trials that are trained as one, in whichever process."""

    trials: Sequence[Trial]
    settings: ModelSettings
    pool: Path
    tasks: Mapping[str, Path]
    average: int
    root: Path
    device: str


def _train_missing(
    setup: _Setup, trials: Sequence[Trial], tasks: Mapping[str, Examples], *, label: str, workers: int | None
) -> None:
    pool, workspace = setup.pool.artifact.path, setup.workspace
    places = {name: examples.artifact.path for name, examples in tasks.items()}
    average = 1 if setup.last is None else setup.last.count
    # Grouped before looking what is there: a model's last bits may depend on those it is trained with.
    jobs = [
        _Job(group, setup.settings, pool, places, average, workspace.root, workspace.device)
        for group in groups_of_trials(setup.spec, setup.config, trials, workers, workspace)
        if not all(is_artifact(setup.place(trial)) for trial in group)
    ]
    where = {"workers": workers, "executor": workspace.executor, "device": workspace.device}
    with workspace.progress.task(label, len(trials)) as advance:
        advance(len(trials) - sum(len(job.trials) for job in jobs))
        for position, _ in run_jobs(_carry_out, jobs, **where):
            advance(len(jobs[position].trials))


def _carry_out(job: _Job) -> None:
    tasks = {name: open_examples(path) for name, path in job.tasks.items()}
    workspace = Workspace(job.root, job.device, SILENT)
    setup = _Setup.of(open_examples(job.pool), job.settings, workspace, LastSteps.of(tasks, job.average))
    setup.train_together(job.trials)
    if tasks:
        for trial in job.trials:
            setup.result(trial, tasks)
