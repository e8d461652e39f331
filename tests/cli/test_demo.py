"""`thresher demo`: which studies it runs, in which order."""

import json

import pytest

from thresher.cli.demo import Demo
from thresher.cli.main import main
from thresher.studies.demo.studies import text_study, vision_study


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """The tasks of the demos that were asked for, none of which is run."""
    tasks = []

    def note(self, task, progress):
        tasks.append(task)
        return {"report": f"{task}.html"}

    monkeypatch.setattr(Demo, "_demo", note)
    monkeypatch.chdir(tmp_path)
    return tasks


def test_vision_is_first_and_both_results_are_given(ran, capsys):
    assert main(["demo", "--json", "--quiet"]) == 0
    assert ran == ["vision", "language"]
    assert json.loads(capsys.readouterr().out) == {task: {"report": f"{task}.html"} for task in ran}


def test_a_task_is_run_alone(ran, capsys):
    assert main(["demo", "--task", "language", "--out", "here", "--json", "--quiet"]) == 0
    assert ran == ["language"] and json.loads(capsys.readouterr().out) == {"report": "language.html"}


def test_one_place_is_not_for_two_demos(ran, capsys):
    assert main(["demo", "--out", "here"]) == 2
    assert "--task vision or --task language" in capsys.readouterr().err and not ran


def test_text_is_compared_with_simple_ways_to_choose_on_clean_examples(tmp_path):
    study = text_study(tmp_path, 0)
    assert study.pool.decontaminate and set(study.validate.controls) == {"bm25", "classifier"}
    assert vision_study(tmp_path, 0).validate.controls == ["random", "bottom"]
