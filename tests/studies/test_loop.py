"""The whole loop at toy size: killed anywhere it resumes to the same bytes, and a second run finds everything there."""

import csv
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.toy_corpus import write_corpus
from thresher.artifacts import open_artifact
from thresher.cli.main import main
from thresher.studies.loop import run_study
from thresher.studies.study_file import read_study
from thresher.workspace import Workspace

STUDY = """
name = "toy"
vocab_size = 300
sequence_length = 16
[pool]
data = "corpus.jsonl"
id = "id"
domain = "source"
holdout = 0.1
[target.cooking]
data = "cooking.jsonl"
[target.sailing]
data = "sailing.jsonl"
[proxy]
size = "20k"
count = 2
[reference]
size = "60k"
seeds = 2
[attribution]
k = 32
[select]
fraction = 0.25
[validate]
controls = ["bottom", "minhash:0.7 | gradient-norm"]
average = 2
"""


def write_study(folder: Path) -> Path:
    lines = write_corpus(folder / "corpus.jsonl", 120).read_text().splitlines(keepends=True)
    for domain in ("cooking", "sailing"):
        own = [line for line in lines if f'"source": "{domain}"' in line]
        (folder / f"{domain}.jsonl").write_text("".join(own[:20]))
    (folder / "corpus.jsonl").write_text("".join(lines[60:]))
    (folder / "study.toml").write_text(STUDY)
    return folder / "study.toml"


def hashes(root: Path) -> dict[str, str]:
    """The content of every artefact under `root`, by its path."""
    found = [
        meta.parent
        for meta in root.rglob("meta.json")
        if not any(p.startswith(".") for p in meta.relative_to(root).parts)
    ]
    return {path.relative_to(root).as_posix(): open_artifact(path, verify=True).content_hash for path in found}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    study = write_study(folder)
    assert main(["run", str(study), "--out", str(folder / "out"), "--log", str(folder / "log.txt")]) == 0
    return study, folder / "out"


def test_a_study_ends_in_a_report_and_a_result(unbroken):
    _, out = unbroken
    result = json.loads((out / "result.json").read_text())
    assert set(result["arms"]) == {"dsdm", "bottom", "minhash:0.7 | gradient-norm", "random"}
    assert {row["task"] for row in result["paired"]} == {"cooking", "sailing", "all tasks", "off-target"}
    assert all(row["n"] == 2 and row["low"] <= row["mean"] <= row["high"] for row in result["paired"])
    small = result["trust"]["proxies"]["20k"]
    assert small["num_recipes"] == 4 and set(small["judged"]) == {"cooking", "sailing", "mean over sets"}
    assert result["trust"]["verdict"]["smallest"] is None and not result["trust"]["verdict"]["can_tell"]
    assert small["signals"]["cooking"]["proxy"]["source"] == "seeds" and "at_last_step" in small
    page = (out / "report.html").read_text()
    bits = result["bits_per_byte"]["dsdm"]["cooking"]["mean"]
    assert 0 < bits < 8 and f"Bits per byte, cooking: dsdm {bits:.4f}" in page
    assert "Can the proxy be trusted?" in page and "Too few arms to tell: with 4 even full agreement" in page
    stages = "prepare train featurize score index select validate verdict"
    assert set(result["seconds"]) == set(stages.split())
    assert "cooking" in page and "<svg" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_the_stages_and_what_the_trainings_take_are_said_in_order(unbroken):
    study, _ = unbroken
    lines = [line.split("  ", 1)[1] for line in (study.parent / "log.txt").read_text().splitlines()[1:]]
    stages = [line for line in lines if line.startswith("stage ") and line.count(":") == 1]
    names = ["preparing", "proxies", "features", "scores", "selections", "validation", "trust"]
    assert stages == [f"stage {place} of {len(names)}: {name}" for place, name in enumerate(names, start=1)]
    trainings = [line for line in lines if line.startswith("to come: ")]
    assert trainings[0].startswith("to come: 18 trainings (10 of 20k, 8 of 60k)")  # 2 proxies, 4 arms x 2 seeds, twice
    assert lines.index(trainings[0]) < lines.index("stage 2 of 7: proxies")
    assert lines[-2].startswith("next: python -m webbrowser ") and lines[-2].endswith("report.html")


def test_the_arms_are_judged_in_bits_per_byte_too(unbroken, capsys):
    _, out = unbroken
    (transfer,) = (path.parent for path in out.glob("transfer*/meta.json"))
    rows = list(csv.DictReader((transfer / "losses.csv").read_text().splitlines()))
    assert len(rows) == 2 * 4 * 2 * 2 * 2 and len({row["step"] for row in rows if row["size"] == "20k"}) == 2
    command = ["study", "verdict", str(transfer), "--resamples", "100", "--json"]
    found = {}
    for loss in ("loss", "bits_per_byte"):
        assert main([*command, "--average", "2", "--loss", loss]) == 0
        found[loss] = json.loads(capsys.readouterr().out)["proxies"]["20k"]["judged"]["cooking"]
    of = {(row["recipe"], row["size"]): [] for row in rows}
    for row in rows:
        if row["test_set"] == "cooking":
            of[row["recipe"], row["size"]].append(float(row["bits_per_byte"]))
    x, y = ([np.mean(values) for (_, at), values in of.items() if at == size] for size in ("20k", "60k"))
    assert found["bits_per_byte"]["r2"]["value"] == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)
    assert found["bits_per_byte"] != found["loss"]


def test_a_second_run_makes_nothing_and_says_the_same(unbroken, capsys):
    study, out = unbroken
    before = {path: path.stat().st_mtime_ns for path in out.rglob("meta.json")}
    assert main(["run", str(study), "--out", str(out), "--json"]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("meta.json")} == before


def test_the_saved_study_replays_the_run(unbroken, tmp_path):
    study, out = unbroken
    assert read_study(out / "study.toml") == read_study(study)


def test_the_report_is_drawn_again_from_its_json(unbroken, tmp_path):
    _, out = unbroken
    assert main(["report", str(out), "--out", str(tmp_path / "again.html"), "--quiet"]) == 0
    assert (tmp_path / "again.html").read_text() == (out / "report.html").read_text()


@pytest.mark.slow
def test_a_changed_setting_remakes_only_what_depends_on_it(unbroken):
    study, out = unbroken
    before = hashes(out)
    changed = study.with_name("changed.toml")
    changed.write_text(STUDY.replace("fraction = 0.25", "fraction = 0.5"))
    assert main(["run", str(changed), "--out", str(out), "--quiet"]) == 0
    new = set(hashes(out)) - set(before)
    assert {name.split("/")[0].split("-")[0] for name in new} == {
        "selections",
        "reference",
        "evaluations",
        "validation",
        "small",
        "transfer",
    }
    assert all(hashes(out)[name] == content for name, content in before.items())


def test_other_words_for_the_same_study_are_not_refused(unbroken):
    study, out = unbroken
    changed = study.with_name("changed.toml")
    same = STUDY.replace(
        '["bottom", "minhash:0.7 | gradient-norm"]', '["minhash:0.7 | gradient-norm", "bottom"]'
    ).replace("seeds = 2", "seeds = 2\nepochs = 1")
    changed.write_text(same)
    before = hashes(out)
    assert main(["run", str(changed), "--out", str(out), "--quiet"]) == 0
    assert {name.split("-")[0] for name in set(hashes(out)) - set(before)} == {"validation", "transfer"}


def test_a_study_is_not_written_over_by_its_own_copy(tmp_path, capsys):
    study = write_study(tmp_path)
    assert main(["run", str(study), "--out", str(tmp_path), "--quiet"]) == 2
    assert "is around what is read" in capsys.readouterr().err and study.read_text() == STUDY


@pytest.mark.slow
@pytest.mark.parametrize(("label", "units"), [("train", 3), ("features", 20), ("scores", 1)])
def test_killed_in_the_middle_it_resumes_to_the_same_bytes(unbroken, tmp_path, label, units):
    study, out = unbroken
    script = textwrap.dedent(
        f"""
        import os, signal
        from contextlib import contextmanager
        from pathlib import Path
        from thresher.studies.loop import run_study
        from thresher.studies.study_file import read_study
        from thresher.workspace import Workspace

        class Killer:
            @contextmanager
            def task(self, label, total):
                done = 0
                def advance(units):
                    nonlocal done
                    done += units
                    if label.startswith({label!r}) and done >= {units}:
                        os.kill(os.getpid(), signal.SIGKILL)
                yield advance

        run_study(read_study({str(study)!r}), Workspace(Path({str(tmp_path)!r}), progress=Killer()))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    partial = [path.name for path in tmp_path.rglob(".*.partial")]
    assert len(partial) == 1, partial
    killed = hashes(tmp_path)
    run_study(read_study(study), Workspace(tmp_path))
    resumed, whole = hashes(tmp_path), hashes(out)
    assert not list(tmp_path.rglob(".*.partial"))
    assert len(killed) < len(resumed)
    assert resumed == {name: whole[name] for name in resumed}
