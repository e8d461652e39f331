"""What is heard of long work where there is no terminal: a line a stage, and now and then how far it has come."""

import sys

import pytest

from thresher.cli import progress_bar
from thresher.cli.progress_bar import Bar, Lines, Several, progress_for
from thresher.progress import SILENT, staged, track
from thresher.shown import duration


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def heard():
    """What was said, the clock, and the lines themselves."""
    said, clock = [], Clock()
    return said, clock, Lines(said.append, every=30, clock=clock)


def test_a_stage_is_one_line_with_its_place_in_the_whole(heard):
    said, _, lines = heard
    with staged(3, lines) as stage:
        with stage("preparing"), lines.task("tokenise", 10) as advance:
            advance(10)
        with stage("proxies", 2) as trained:
            for _ in range(2):
                with lines.task("train", 100) as advance:
                    advance(100)
                trained(1)
        with stage("scores"):
            pass
    assert said == ["stage 1 of 3: preparing", "stage 2 of 3: proxies", "stage 3 of 3: scores"]


def test_long_work_says_its_share_and_the_time_left_at_most_every_thirty_seconds(heard):
    said, clock, lines = heard
    with lines.task("train", 100) as advance:
        for _ in range(100):
            clock.now += 1
            advance(1)
    assert said == [
        "train",
        "train, 30 of 100 (30%), about 70 s left",
        "train, 60 of 100 (60%), about 40 s left",
        "train, 90 of 100 (90%), about 10 s left",
        "train: done in 100 s",
    ]


def test_what_was_there_already_says_nothing_about_the_speed(heard):
    said, clock, lines = heard
    with lines.task("reference runs", 10) as advance:
        advance(6)
        clock.now += 60
        advance(2)
    assert said[1] == "reference runs, 8 of 10 (80%), about 60 s left"


def test_the_time_left_is_of_the_whole_that_can_be_counted(heard):
    said, clock, lines = heard
    with staged(2, lines) as stage, stage("proxies", 4) as trained:
        trained(1)  # there already
        clock.now += 20
        with lines.task("train", 10) as advance:
            clock.now += 20
            advance(5)
    assert said[1].startswith("stage 1 of 2: proxies 2 of 4: train, 5 of 10 (50%), about ")
    assert said[1].endswith("left") and duration(40 * 2.5 / 0.5) in said[1]


def test_the_same_small_work_over_and_over_is_said_once(heard):
    said, _, lines = heard
    for _ in range(5):
        list(track(range(3), "evaluate", 3, lines))
    assert said == ["evaluate"]


def test_work_of_unknown_length_says_how_much_is_done(heard):
    said, clock, lines = heard
    with lines.task("read", None) as advance:
        clock.now += 31
        advance(12_000)
    assert said == ["read", "read, 12,000 done after 31 s", "read: done in 31 s"]


def test_an_error_ends_a_stage_without_a_line(heard):
    said, clock, lines = heard
    with pytest.raises(RuntimeError), lines.task("train", 2):
        clock.now += 100
        raise RuntimeError
    assert said == ["train"]
    with lines.task("again", None):
        pass
    assert said[-1] == "again"


def test_verbose_says_every_piece_when_it_begins_and_when_it_ends():
    said, clock = [], Clock()
    lines = Lines(said.append, verbose=True, clock=clock)
    with staged(1, lines) as stage, stage("proxies", 1), lines.task("train", 5) as advance:
        clock.now += 2
        advance(5)
    assert said == [
        "stage 1 of 1: proxies",
        "stage 1 of 1: proxies 1 of 1: train",
        "stage 1 of 1: proxies 1 of 1: train: done in 2.0 s",
        "stage 1 of 1: proxies: done in 2.0 s",
    ]


def test_names_of_strangers_are_written_so_that_no_terminal_obeys_them(heard):
    said, _, lines = heard
    with lines.task("scores, \x1b[2J", None):
        pass
    assert said == ["scores, \\x1b[2J"]


def test_who_hears_of_the_work(monkeypatch):
    monkeypatch.setattr(progress_bar, "_is_terminal", lambda: True)
    assert isinstance(progress_for(quiet=False), Bar)
    assert isinstance(progress_for(quiet=False, verbose=True), Lines)
    assert progress_for(quiet=True) is SILENT
    assert isinstance(progress_for(quiet=True, log=True), Lines)
    both = progress_for(quiet=False, log=True)
    assert isinstance(both, Several) and [type(one) for one in both.heard] == [Bar, Lines]
    monkeypatch.setattr(progress_bar, "_is_terminal", lambda: False)
    assert isinstance(progress_for(quiet=False), Lines) and isinstance(progress_for(quiet=False, log=True), Lines)


def test_a_closed_stderr_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert isinstance(progress_for(quiet=False), Lines)


def test_several_are_told_the_same():
    first, second = [], []
    several = Several([Lines(first.append), Lines(second.append)])
    with staged(2, several) as stage, stage("one") as advance:
        advance(1)
    assert first == second == ["stage 1 of 2: one"]
