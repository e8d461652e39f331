"""`thresher report`: the page of a finished study, drawn again."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from thresher.cli.command import Command, PlaceCheck, check_page
from thresher.places import check_file_place


@dataclass(frozen=True, kw_only=True)
class DrawReport(Command):
    """Draw a finished study's HTML page again, from the report.json that `thresher run` and `thresher demo` leave."""

    usage = "thresher report runs/study"

    makes = "file"

    study: tyro.conf.Positional[Path]
    """The folder of the study, or its report.json."""
    out: Path | None = None
    """The page; None: report.html beside the JSON."""

    def check(self):
        super().check()
        check_page(self.out, "--out")

    def places(self) -> dict[str, tuple[Path, PlaceCheck]]:
        """The page, also where --out does not say it."""
        return {"--out": (self._page, check_file_place)}

    @property
    def _source(self) -> Path:
        return self.study / "report.json" if self.study.is_dir() else self.study

    @property
    def _page(self) -> Path:
        return self.out or self._source.with_suffix(".html")

    def run(self, progress):
        from thresher.studies.report.render import read_report, write_report

        write_report(read_report(self._source), self._page)
        return {"report": str(self._page.resolve())}

    def then(self, result):
        from thresher.cli.following import opening

        return opening(result["report"])


COMMAND = DrawReport
