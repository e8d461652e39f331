"""The comparison with other packages: rounds, merged rows and the table, without any of the packages."""

import json

from benchmarks.attribution.peers.cases import CASES, WORKLOADS
from benchmarks.attribution.peers.child import compare
from benchmarks.attribution.peers.launch import Failed, run
from benchmarks.attribution.peers.report import merge, write_table

MACHINE = {"processor": "a processor", "cores": 4, "threads": 2, "python": "3.11"}


def measured(name: str, ratio: float) -> dict:
    row = {"name": name, "peer": "peer", "version": "1.0", "workload": "resnet9-0.4M", "method": "some", "k": 512}
    row |= {"batch": "64 images", "num_examples": 512, "plain_seconds": 0.5, "seconds": 0.5 * ratio, "rounds": 7}
    return row | {"ratio": ratio, "ratio_quartiles": [ratio - 0.1, ratio + 0.1], "process_seconds": 3.0, "peak_mb": 900}


def test_rounds_alternate_and_the_first_is_not_counted() -> None:
    order = []
    durations = iter([100.0, 2.0, 4.0, 6.0])

    def theirs() -> float:
        order.append("theirs")
        return next(durations)

    def plain() -> float:
        order.append("plain")
        return 2.0

    found = compare(plain, theirs, seconds=0.0)
    assert order == ["plain", "theirs", "theirs", "plain"] * 2 or order == ["theirs", "plain", "plain", "theirs"] * 2
    assert (found["rounds"], found["ratio"], found["plain_seconds"], found["seconds"]) == (3, 2.0, 2.0, 4.0)
    assert found["ratio_quartiles"] == [1.5, 2.5]


def test_rows_measured_again_replace_their_own_and_keep_the_others(tmp_path) -> None:
    file = tmp_path / "rows.json"
    merge(file, "rows", [measured("a", 2.0), {"name": "b", "error": "no"}], MACHINE)
    merge(file, "rows", [measured("b", 3.0)], MACHINE)
    rows = json.loads(file.read_text())["rows"]
    assert [(row["name"], row.get("ratio"), row.get("error")) for row in rows] == [("a", 2.0, None), ("b", 3.0, None)]


def test_a_package_that_fails_is_in_the_table_with_its_error(tmp_path) -> None:
    file, out = tmp_path / "rows.json", tmp_path / "table.md"
    failed = {key: value for key, value in measured("bad", 1.0).items() if "ratio" not in key} | {
        "error": "does not load"
    }
    lds = [{"name": "x", "setting": "images", "scorer": "one", "mean": 0.25, "low": 0.125, "high": 0.375}]
    merge(file, "rows", [measured("good", 2.5), failed], MACHINE)
    merge(file, "lds", [*lds, {"name": "y", "setting": "images", "scorer": "two", "error": "singular"}], MACHINE)
    write_table(file, out)
    text = out.read_text()
    assert "**2.50** (2.40 to 2.60, 7)" in text
    assert "failed, see below" in text and "does not load" in text
    assert "0.250 (0.125 to 0.375)" in text and "failed: singular" in text


def test_a_process_that_fails_says_its_last_words() -> None:
    try:
        run(["python3", "-c", "raise SystemExit('the end')"])
    except Failed as error:
        assert str(error) == "the end"
    else:
        raise AssertionError("the failure went unnoticed")


def test_a_process_that_hangs_is_given_up() -> None:
    try:
        run(["python3", "-c", "import time; time.sleep(60)"], limit=0.5)
    except Failed as error:
        assert str(error) == "not finished in 0.5 s"
    else:
        raise AssertionError("the limit went unnoticed")


def test_cases_have_names_of_their_own_and_known_workloads() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.workload for case in CASES} <= WORKLOADS.keys()
