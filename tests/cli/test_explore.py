"""`thresher explore`, `thresher.explore`: a page from artefacts, one line for what is wrong, nothing written over."""

import json
import subprocess
import sys

import pytest

import thresher
from tests.studies.explorer.cases import write_rows
from thresher.cli.main import main


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    rows = [{"id": f"d{n}", "text": f"boil {n} eggs in {n + 1} pots"} for n in range(12)]
    write_rows(folder / "rows.jsonl", rows)
    pool = thresher.prepare(folder / "rows.jsonl", out=folder / "pool", id="id", vocab_size=300, sequence_length=32)
    scores = thresher.score(pool, {"t": pool}, scorer="bm25", out=folder / "scores")
    return folder, pool, scores


def test_a_page_is_written_in_the_current_folder_and_written_anew(made, capsys, tmp_path, monkeypatch):
    folder, *_ = made
    monkeypatch.chdir(tmp_path)
    words = ["explore", str(folder / "scores"), "--pool", str(folder / "pool"), "--targets", f"t={folder / 'pool'}"]
    for _ in range(2):
        assert main([*words, "--json", "--quiet"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["explorer"] == str(tmp_path / "explorer.html") and result["missing"] == ""
    page = (tmp_path / "explorer.html").read_text()
    assert str(folder) not in page and "thresher select --scores scores --out subset" in page


def test_the_verb_takes_handles(made, tmp_path):
    _, pool, scores = made
    page = thresher.explore(scores, pool, {"t": pool}, out=tmp_path / "page.html", title="Eggs")
    assert page == tmp_path / "page.html" and "<title>Eggs</title>" in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--targets t={f}/pool --out {f}/notes.html", "is there already, without the mark"),
        ("--targets t={f}/pool --out {f}/page.htm", "give one that ends in .html"),
        ("--targets t={f}/pool --out page.html --serve", "leave one of them out"),
        ("--targets u={f}/pool", "target 'u' is unknown"),
        ("--targets t={f}/nope", "does not exist"),
        ("--targets t={f}/pool --features {f}/pool", "--features and --target-features"),
        ("--targets t={f}/pool --page-mb 0", "--page-mb 0 cannot be"),
        ("--targets t={f}/pool --port 70000", "--port 70000 cannot be"),
        ("--targets t={f}/pool --top 0", "give 1 or more"),
        ("--targets t={f}/pool --top 5", "--top changes nothing of {f}/scores"),
        ("--targets t={f}/pool --selection {f}/pool", "'selection' is needed"),
        ("--target t={f}/pool", "nearest: '--targets'"),
    ],
)
def test_what_is_wrong_is_one_line(made, capsys, words, message, tmp_path, monkeypatch):
    folder, *_ = made
    monkeypatch.chdir(tmp_path)
    (folder / "notes.html").write_text("mine")
    words = words.replace("{f}", str(folder)).split()
    assert main(["explore", str(folder / "scores"), "--pool", str(folder / "pool"), "--quiet", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message.replace("{f}", str(folder)) in error and "\n" not in error
    assert (folder / "notes.html").read_text() == "mine" and not list(tmp_path.iterdir())


def test_a_wrong_path_is_refused_before_torch_is_loaded(tmp_path):
    code = "import sys; from thresher.cli.main import main; s = main(['explore', '/nope', '--pool', '/nope']); "
    code += "sys.exit(s if 'torch' not in sys.modules else 9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "/nope does not exist" in done.stderr
