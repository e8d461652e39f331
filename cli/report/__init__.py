"""The report of a study: one self-contained HTML page, and beside it the JSON that replays it."""

from thresher.cli.report.content import Report
from thresher.cli.report.render import read_report, render, write_report

__all__ = ["Report", "read_report", "render", "write_report"]
