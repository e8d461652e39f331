"""`thresher run`: a whole study from one file."""

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from thresher.choices import Executor
from thresher.cli.command import Command, PlaceCheck
from thresher.cli.lines import study_lines
from thresher.places import check_study_place

if TYPE_CHECKING:
    from thresher.studies.study import Study


@dataclass(frozen=True, kw_only=True)
class Run(Command):
    """Run a study: prepare, train proxies, featurise, score, index, select, validate, report. Rerun to resume."""

    usage = """
    thresher run study.toml
    thresher run study.toml --out runs/again --log again.log
    """

    makes = "workspace"

    study: tyro.conf.Positional[Path]
    """The study's file; its keys and defaults: docs/study-file.md."""
    out: Path | None = None
    """Where everything goes; None: runs/NAME in the current folder."""
    executor: Executor = "processes"
    """Where trainings and feature shards are done: processes (here), or ray (a cluster, see docs/training.md)."""
    device: str = "auto"

    def places(self) -> dict[str, tuple[Path, PlaceCheck]]:
        """The study's folder, also where its name says it."""
        if self.out is not None:
            return super().places()
        return {"runs/NAME": (self._root, lambda root, inputs: check_study_place(root))}

    @cached_property
    def _read(self) -> "Study":
        from thresher.studies.study_file import read_study

        return read_study(self.study)

    @property
    def _root(self) -> Path:
        return self.out or Path("runs") / self._read.name

    def run(self, progress):
        study = self._read  # before what is slow to load
        from thresher.studies.loop import run_study
        from thresher.studies.summary import finish
        from thresher.workspace import Workspace

        workspace = Workspace(self._root, self.device, progress, self.executor)
        check_study_place(workspace.root)
        command = shlex.join(["thresher", "run", self.study.name])
        return finish(study, run_study(study, workspace), workspace, command=command)

    def then(self, result):
        from thresher.cli.following import opening

        return opening(result["report"])

    def show(self, result):
        return study_lines(result)


COMMAND = Run
