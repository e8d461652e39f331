"""`thresher demo`: the whole loop on data that every machine has."""

from dataclasses import dataclass
from pathlib import Path

from thresher.choices import StudyTask
from thresher.cli.command import Command
from thresher.cli.lines import study_lines
from thresher.places import check_study_place


@dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """The whole loop on embedded data: train proxies, attribute, select, prove it on a larger reference, report.

    language: the pool is this Python's standard library cut into domains, the target held-out documentation prose.
    vision: scikit-learn's digits with a tenth of the labels flipped; attribution finds them.
    """

    usage = """
    thresher demo --task vision
    thresher demo --task language --seed 1
    """

    makes = "workspace"

    task: StudyTask = "language"
    """language or vision."""
    out: Path | None = None
    """Where everything goes; None: runs/demo-TASK in the current folder. Run again to resume."""
    seed: int = 0
    device: str = "auto"

    def run(self, progress):
        from thresher.errors import unknown
        from thresher.studies.demo.studies import DEMOS
        from thresher.studies.loop import run_study
        from thresher.studies.summary import finish
        from thresher.workspace import Workspace

        if self.task not in DEMOS:
            raise unknown("task", self.task, DEMOS)
        check_study_place(self._root, known=("source",))
        write_data, make_study, extra = DEMOS[self.task]
        workspace = Workspace(self._root, self.device, progress)
        write_data(workspace.root / "source", seed=self.seed)
        study = make_study(workspace.root / "source", self.seed)
        result = run_study(study, workspace)
        flips = extra(workspace.root / "source", result, self.seed)
        return finish(
            study, result, workspace, command=f"thresher demo --task {self.task} --seed {self.seed}", flips=flips
        )

    def then(self, result):
        from thresher.cli.following import opening

        return opening(result["report"])

    @property
    def _root(self) -> Path:
        return self.out or Path("runs") / f"demo-{self.task}"

    def show(self, result):
        return study_lines(result)


COMMAND = Demo
