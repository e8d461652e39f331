"""Texts of strangers in a terminal, in a table, in a message; numbers that keep their rules."""

import csv
import io
import unicodedata

import hypothesis.strategies as st
import pytest
from hypothesis import given

from thresher.errors import InputError, near, unknown
from thresher.rules import RULES, check_numbers
from thresher.shown import HIDDEN, PROSE, as_line, cell, shown, with_interval


@given(st.text())
def test_what_is_shown_obeys_nothing_and_is_one_line(text):
    assert not [char for char in shown(text) if unicodedata.category(char) in HIDDEN]
    assert "\x1b" not in shown(text, keep=PROSE) and "\u202e" not in shown(text, keep=PROSE)
    assert len(as_line(text).splitlines()) <= 1


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_plain_text_is_shown_as_it_is(text):
    assert shown(text) == text


def test_escapes_say_what_was_there():
    assert shown("a\x1b[31m\u202eb\u200bc\x9b") == r"a\x1b[31m\u202eb\u200bc\x9b"
    assert shown("می\u200cخواهم", keep=PROSE) == "می\u200cخواهم"  # joiners are how Persian is written
    assert len(as_line("x" * 10**6)) < 2100


@given(st.text())
def test_no_cell_of_a_table_begins_like_a_formula_and_numbers_stay(text):
    stream = io.StringIO()
    csv.writer(stream).writerow([cell(text)])
    (read,) = next(csv.reader(io.StringIO(stream.getvalue())))
    assert not read.startswith(("=", "@", "\t", "\r")) and (not read.startswith(("+", "-")) or float(read) is not None)
    assert cell("-1.5") == "-1.5" and cell("=cmd()") == "'=cmd()"


def test_the_nearest_name_is_said():
    assert near("tarin", ["train", "select"]) == " (nearest: 'train')"
    assert near("--batch_sizes", ["--batch-size"]) == " (nearest: '--batch-size')"
    assert near("zzzz", ["train"]) == ""
    assert "pass one of: a, b" in str(unknown("method", "c", ["a", "b"]))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_refuses_what_is_no_number_and_says_what_it_takes(name):
    for number in (float("nan"), float("inf"), 10**40, -(10**40)):
        with pytest.raises(InputError, match="give a number"):
            check_numbers({name: number}, "--{}")
        with pytest.raises(InputError):
            check_numbers({name: (1, number)})
    check_numbers({name: None, "others": float("nan")})


@given(st.sampled_from(sorted(RULES)), st.floats() | st.integers())
def test_a_number_is_allowed_or_refused_by_its_ends_alone(name, number):
    rule = RULES[name]
    inside = (rule.low < number if rule.above else rule.low <= number) and number <= rule.high
    try:
        check_numbers({name: number})
    except InputError as error:
        assert not inside and str(rule) in str(error)
    else:
        assert inside


def test_a_number_stands_before_its_interval():
    assert with_interval(0.9124, -0.5, 1) == "0.912 [-0.500, 1.000]"
