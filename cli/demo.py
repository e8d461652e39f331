"""`thresher demo`: the whole loop on data that every machine has."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thresher.choices import StudyTask
from thresher.cli.command import Command, PlaceCheck
from thresher.cli.lines import study_lines
from thresher.errors import InputError
from thresher.places import check_study_place
from thresher.progress import Progress

TASKS: tuple[StudyTask, ...] = ("vision", "language")
"""The quick one first."""


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """The whole loop on embedded data: train proxies, attribute, select, prove it on a larger reference, report.

    vision: scikit-learn's digits with a tenth of the labels flipped; attribution finds them.
    language: the pool is this Python's standard library cut into domains, the target held-out documentation prose.
    """

    usage = """
    thresher demo
    thresher demo --task language --seed 1
    """

    makes = "workspace"

    task: StudyTask | None = None
    """vision or language; None: both, one after the other."""
    out: Path | None = None
    """With --task: where everything goes; None: runs/demo-TASK in the current folder. Run again to resume."""
    seed: int = 0
    device: str = "auto"

    def check(self):
        if self.out is not None and self.task is None:
            raise InputError(f"--out {self.out} is of one demo; pass --task vision or --task language with it")
        super().check()

    def places(self) -> dict[str, tuple[Path, PlaceCheck]]:
        """The folder of each demo."""

        def check(root: Path, inputs: Iterable[Path]) -> None:
            check_study_place(root, known=("source",))

        return {f"demo {task}": (self._root(task), check) for task in self._tasks}

    @property
    def _tasks(self) -> tuple[StudyTask, ...]:
        return TASKS if self.task is None else (self.task,)

    def run(self, progress):
        results = {}
        for number, task in enumerate(self._tasks, start=1):
            if self.task is None:
                logging.getLogger("thresher.cli").info("demo %d of %d: %s", number, len(TASKS), task)
            results[task] = self._demo(task, progress)
        return results if self.task is None else results[self.task]

    def _demo(self, task: StudyTask, progress: Progress) -> dict[str, Any]:
        from thresher.studies.demo.studies import DEMOS
        from thresher.studies.loop import run_study
        from thresher.studies.summary import finish
        from thresher.workspace import Workspace

        write_data, make_study, extra = DEMOS[task]
        workspace = Workspace(self._root(task), self.device, progress)
        source = workspace.root / "source"
        write_data(source, seed=self.seed)
        study = make_study(source, self.seed)
        result = run_study(study, workspace)
        command = f"thresher demo --task {task} --seed {self.seed}"
        return finish(study, result, workspace, command=command, flips=extra(source, result, self.seed))

    def then(self, result):
        from thresher.cli.following import opening

        return opening((result if self.task else result[TASKS[-1]])["report"])

    def _root(self, task: StudyTask) -> Path:
        return self.out or Path("runs") / f"demo-{task}"

    def show(self, result):
        if self.task:
            return study_lines(result)
        return "\n\n".join(f"{task}\n{study_lines(one)}" for task, one in result.items())


COMMAND = Demo
