"""The few cases of each reliability program that take seconds; all of them: `python -m tests.reliability`."""

import json
import subprocess
import sys

import pytest

from tests.reliability import PROGRAMS


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """In a process of their own: they fork, which a process with threads must not."""
    file = tmp_path_factory.mktemp("reliability") / "reports.json"
    command = [sys.executable, "-m", "tests.reliability", "--fast", "--json", str(file)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert file.exists(), ended.stderr
    return {report["program"]: report for report in json.loads(file.read_text())}


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_is_lost_stuck_or_believed(reports, program):
    report = reports.get(program)
    if report is None or not report["tried"]:
        pytest.skip(f"{program}: {report['notes'] if report else 'has no fast part'}")
    assert report["faults"] == []
