"""The example programs run as they stand, and do what they say."""

import runpy
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_text_selection_helps_and_the_bottom_hurts(tmp_path):
    difference = runpy.run_path(str(EXAMPLES / "text.py"))["main"](tmp_path)
    assert difference["dsdm"] < 0 < difference["bottom"]


def test_a_digit_is_helped_by_its_own_kind(tmp_path):
    found = runpy.run_path(str(EXAMPLES / "images.py"))["main"](tmp_path)
    assert found["accuracy"] > 0.7
    assert found["helpful"].count(found["label"]) >= 4
