"""`thresher report`: the page of a finished study, drawn again."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from thresher.cli.command import Command


@dataclass(frozen=True, kw_only=True)
class DrawReport(Command):
    """Draw a finished study's HTML page again, from the report.json that `thresher run` and `thresher demo` leave."""

    usage = "thresher report runs/study"

    makes = "file"

    study: tyro.conf.Positional[Path]
    """The folder of the study, or its report.json."""
    out: Path | None = None
    """The page; None: report.html beside the JSON."""

    def run(self, progress):
        from thresher.errors import InputError
        from thresher.studies.report.render import read_report, write_report

        source = self.study / "report.json" if self.study.is_dir() else self.study
        page = self.out or source.with_suffix(".html")
        if page.suffix != ".html":
            raise InputError(f"{page} is no name for a page; give one that ends in .html")
        write_report(read_report(source), page)
        return {"report": str(page.resolve())}

    def then(self, result):
        from thresher.cli.following import opening

        return opening(result["report"])


COMMAND = DrawReport
