"""Hostile texts, names, places, files and archives: what each of them could do, and does not.

Every check is a function of the ground and a generator that returns what is wrong, or nothing. docs/security.md has the
promise that each of them holds.
"""

import getpass
import hashlib
import io
import json
import os
import random
import resource
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.reliability import forked
from tests.reliability.ground import STAGES, Ground, Report, leftovers, not_one_line, write_sources
from tests.reliability.pages import active_parts, explorer_faults

MARKUP = (
    "</pre></td><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)> {{7*7}} ![x](http://e/p) "
)
ESCAPES = "\x1b]0;owned\x07\x1b[31m\u202e\u2066\x9b2J "
DOMAINS = ["<script>alert(6)</script>", '=HYPERLINK("http://e")|x\n# heading', '"><svg onload=alert(7)>\u202e']
SECRET = "hf_SECRETSECRET"
SHORTEST = 6
"""Names shorter than this stand in megabytes of numbers by chance; they are looked for in no file."""
Check = Callable[[Ground, random.Random], str]


def check(ground: Ground, *, count: int, seed: int) -> Report:
    """Every check, `count` times with other draws of what is hostile."""
    forked.warm()
    report = Report("hostile")
    for turn in range(count):
        for test in CHECKS:
            fault = test(ground, random.Random(seed + turn))
            report.add("fault" if fault else "ok", f"{test.__name__}: {fault}" if fault else "")
    return report


def a_hostile_study_makes_pages_that_run_and_fetch_nothing(ground: Ground, draw: random.Random) -> str:
    work = ground.fresh("hostile")
    study = hostile_sources(work / "src", draw)
    code, out, err, *_ = forked.run(["run", study, "--out", work / "r"], work, timeout=600, quiet=False)
    if code != 0:
        return f"it ends with {code}: {err.strip()[-300:]}"
    scores, pool = next((work / "r").glob("scores-*")), next((work / "r" / "data").glob("pool-*"))
    words = [
        "select",
        "--scores",
        scores,
        "--pool",
        pool,
        "--tokens",
        "3000",
        "--out",
        work / "s",
        "--export",
        work / "e",
    ]
    code, said, warned, *_ = forked.run(words, work, quiet=False)
    target = next(path for path in (work / "r" / "features").iterdir() if not path.name.startswith("pool"))
    words = [
        "search",
        "--index",
        next((work / "r").glob("index-*")),
        "--target",
        target,
        "--example",
        "0",
        "--pool",
        pool,
    ]
    _, found, complained, *_ = forked.run(words, work, quiet=False)
    pages = [work / "r" / "report.html", work / "e" / "card.html"]
    faults = [f"{page.name} holds {parts[:2]}" for page in pages if (parts := active_parts(page.read_text()))]
    faults += [f"explorer.html holds {part}" for part in explorer_faults((work / "r" / "explorer.html").read_text())]
    faults += [
        f"{chart.name} is active" for chart in (work / "r").rglob("*.svg") if active_parts(chart.read_text(), False)
    ]
    for name, text in (("run", out + err), ("select", said + warned), ("search", found + complained)):
        faults += [f"{name} sends {text[max(place - 10, 0) : place + 20]!r}" for place in _commands_in(text)[:1]]
    card = (work / "e" / "card.md").read_text()
    raw = [line for line in card.splitlines() if not line.startswith("    ") and ("<s" in line or line == "# heading")]
    faults += [f"card.md holds {raw[0]!r}"] if raw else []
    return "; ".join(faults)


def an_error_sends_nothing_to_the_terminal(ground: Ground, draw: random.Random) -> str:
    name = "".join(draw.choices(ESCAPES, k=12))
    faults = []
    for words in (["prepare", "--data", f"x{name}.jsonl", "--out", "o"], [f"x{name}"], ["train", f"--x{name}", "1"]):
        _, _, err, *_ = forked.run(words, ground.fresh("terminal"))
        faults += [f"{words[0]!r}: {err!r}" for _ in _commands_in(err)[:1]]
    return "; ".join(faults)


def ids_that_break_lines_do_not_forge_lines(ground: Ground, draw: random.Random) -> str:
    work = ground.fresh("lines")
    rows = [{"id": f"a{i}\nb{i}", "text": "w1 w2 w3 " * 9} for i in range(40)]
    (work / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = "prepare --data x.jsonl --id id --vocab-size 300 --sequence-length 32 --out p"
    forked.run(line.split(), work)
    line = "select --pool p --method random --count 3 --out s --export e --format ids"
    code, _, err, *_ = forked.run(line.split(), work)
    kept = (work / "e" / "kept.txt").read_text().splitlines() if code == 0 else []
    return (
        f"3 ids are {len(kept)} lines" if code == 0 and len(kept) != 3 else "" if code == 0 else not_one_line(code, err)
    )


def a_name_cannot_leave_its_folder(ground: Ground, draw: random.Random) -> str:
    base, faults = ground.base, []
    for name in (
        "../../../escaped",
        str(ground.root / "absolute"),
        "a/b",
        "..",
        "a\u202eb",
        "a\x1b[31m",
        "x" * 300,
    ):
        work = ground.fresh("deep") / "er"
        work.mkdir()
        text = (base / "src" / "study.toml").read_text()
        for what, changed in (
            ("study", text.replace('name = "tiny"', f"name = {json.dumps(name)}")),
            ("target", text.replace("[target.t]", f"[target.{json.dumps(name)}]")),
        ):
            (work / "s.toml").write_text(changed)
            code, _, err, *_ = forked.run(["run", "s.toml"], work)
            wrong = not_one_line(code, err) or ("" if os.listdir(work) == ["s.toml"] else f"wrote {os.listdir(work)}")
            faults += [f"{what} {name[:20]!r}: {wrong}"] if wrong else []
    return "; ".join(faults)


def files_of_others_are_not_written_over(ground: Ground, draw: random.Random) -> str:
    base, work = ground.finish("select"), ground.fresh("mine")
    names = (
        "study.toml",
        "report.html",
        "explorer.html",
        "report.json",
        "result.json",
        "plan.csv",
        "mixture.json",
        "notes.txt",
    )
    for name in names:
        (work / name).write_text("my own work\n")
    shutil.copy(base / "src" / "study.toml", work / "other.toml")
    lines = [
        "run other.toml --out .",
        "mix plan a b --out plan.csv",
        "demo --task vision --out .",
        "report {b}/src --out report.html",
    ]
    lines += ["mix scores --scores {b}/scores --pool {b}/pool --resamples 0 --out ."]
    lines += [
        f"lds --pool {{b}}/pool --target {{b}}/pool --out {place}" for place in (".", "{b}/pool", "{b}", "{b}/src")
    ]
    lines += [
        "train --pool {b}/pool --out {b}/pool",
        "train --pool {b}/pool --out {b}/pool/x",
        "train --pool {b}/pool --out .",
    ]
    faults = []
    before = sorted(path for path in base.rglob("*") if "cwd" not in path.parts)
    for line in lines:
        code, _, err, *_ = forked.run(ground.line(line, work), work)
        wrong = not_one_line(code, err)
        faults += [f"{line}: {wrong}"] if wrong else []
    lost = [name for name in names if (work / name).read_text() != "my own work\n"]
    new = sorted(set(os.listdir(work)) - {*names, "other.toml"})
    more = sorted(path for path in base.rglob("*") if "cwd" not in path.parts)
    if lost or new or more != before:
        faults.append(f"lost {lost}, wrote {new} and {sorted(map(str, set(more) - set(before)))[:3]}")
    return "; ".join(faults)


def links_are_not_followed_when_writing(ground: Ground, draw: random.Random) -> str:
    base, work, faults = ground.finish("prepare"), ground.fresh("links"), []
    for name in ("victim", "real"):
        (work / name).mkdir()
    (work / "victim" / "notes.txt").write_text("precious")
    (work / ".tgt.partial").symlink_to(work / "victim")
    (work / "lock").mkdir()
    (work / "lock" / ".tgt.lock").symlink_to(work / "victim" / "notes.txt")
    (work / "place").mkdir()
    (work / "place" / "tgt").symlink_to(work / "real")
    for folder in (work, work / "lock", work / "place"):
        line = STAGES["target"].format(b=base, o=folder).split()
        code, _, err, *_ = forked.run(line, work)
        wrong = not_one_line(code, err)
        faults += [f"{folder.name}: {wrong}"] if wrong else []
    if os.listdir(work / "victim") != ["notes.txt"] or (work / "victim" / "notes.txt").read_text() != "precious":
        faults.append("a link was followed")
    return "; ".join(faults)


def checkpoints_and_models_do_not_choose_code(ground: Ground, draw: random.Random) -> str:
    base, work = ground.finish("train", "target"), ground.fresh("code")
    evil = work / "evil"
    evil.mkdir()
    named = {"AutoConfig": "conf.EvilConfig", "AutoModelForCausalLM": "conf.Evil"}
    config = {"model_type": "evil", "architectures": ["Evil"], "vocab_size": 300, "auto_map": named}
    (evil / "config.json").write_text(json.dumps(config))
    (evil / "conf.py").write_text(f"open({str(work / 'PWNED')!r}, 'w')\n")
    (evil / "model.safetensors").touch()
    code, _, err, *_ = forked.run(["train", "--pool", base / "pool", "--model", f"hf:{evil}", "--out", "em"], work)
    faults = [f"checkpoint: {wrong}" for wrong in [not_one_line(code, err)] if wrong]
    for function in ("antigravity:geohash", "os:system", "subprocess:run", "nope:nope"):
        art = forged(
            base / "proxy", work / function.partition(":")[0], "spec.json", source="function", function=function
        )
        code, _, err, *_ = forked.run(["featurize", "--models", art, "--examples", base / "tgt", "--out", "af"], work)
        faults += [f"{function}: {wrong}" for wrong in [not_one_line(code, err)] if wrong]
    return "; ".join([*faults, *(["code of a stranger ran"] if (work / "PWNED").exists() else [])])


def arrays_hold_numbers_alone(ground: Ground, draw: random.Random) -> str:
    base, work, faults = ground.finish("target"), ground.fresh("arrays"), []
    np.save(work / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (work / "empty.npy").touch()
    (work / "text.npy").write_text("hello")
    np.savez(work / "many.npz", a=np.zeros(3))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**6)})
    (work / "huge.npy").write_bytes(header.getvalue() + bytes(64))
    line = f"lds --pool {base}/tgt --target {base}/tgt --model 20K --subsets 2 --repeats 1 --checkpoints 1 --k 8"
    for file in sorted(path.name for path in work.iterdir()):
        words = f"{line} --epochs 0.1 --workers 1 --scorers random --scores x={file} --out lo".split()
        code, _, err, *_ = forked.run(words, work, before=lambda: _limit(12))
        faults += [f"{file}: {wrong}" for wrong in [not_one_line(code, err)] if wrong]
    return "; ".join(faults)


def archives_do_not_unfold_without_end(ground: Ground, draw: random.Random) -> str:
    work, faults = ground.fresh("bombs"), []
    lines = {"bomb.jsonl.zst": '{"text": "', "quote.csv.zst": 'text\n"', "text.txt.zst": ""}
    for name, start in lines.items():
        with pa.CompressedOutputStream(str(work / name), "zstd") as stream:
            stream.write(start.encode())
            for _ in range(3000):
                stream.write(b"a" * 2**20)
    (work / "imgs" / "a").mkdir(parents=True)
    (work / "imgs" / "b").mkdir()
    from PIL import Image

    Image.new("1", (20_000, 20_000)).save(work / "imgs" / "a" / "bomb.png")
    Image.new("RGB", (8, 8)).save(work / "imgs" / "b" / "x.png")
    pq.write_table(pa.table({"text": pa.array(["a"] * 10).dictionary_encode()}), work / "lies.parquet")
    raw = (work / "lies.parquet").read_bytes()
    (work / "lies.parquet").write_bytes(raw[:-8] + b"\xff\xff\xff\x7fPAR1")
    for name in (*lines, "lies.parquet"):
        words = ["prepare", "--data", name, "--vocab-size", "300", "--out", "o"]
        code, _, err, *_ = forked.run(words, work, timeout=300, before=lambda: _limit(8))
        faults += [f"{name}: {wrong} {err.strip()[-120:]}" for wrong in [not_one_line(code, err)] if wrong]
    code, _, err, *_ = forked.run("prepare --task vision --data imgs --size 8 --out i".split(), work)
    return "; ".join([*faults, *(f"image: {wrong}" for wrong in [not_one_line(code, err)] if wrong)])


def what_is_published_names_nobody(ground: Ground, draw: random.Random) -> str:
    base, work = ground.finish("prepare"), ground.fresh("published")
    home = work / "home" / "alice-of-the-test"
    sources = write_sources(home / "src")

    def before() -> None:
        os.umask(0o077)
        os.environ.update(HF_TOKEN=SECRET, AWS_SECRET_ACCESS_KEY=SECRET, HOME=str(home))

    code, _, err, *_ = forked.run(
        ["run", sources / "study.toml", "--out", work / "r"], work, timeout=600, before=before
    )
    if code != 0:
        return f"it ends with {code}: {err.strip()[-300:]}"
    texts = {path.relative_to(work).as_posix(): path.read_bytes() for path in (work / "r").rglob("*") if path.is_file()}
    faults = []
    strange = {"a secret": SECRET, "the path": str(work), "the home": home.name, "the host": socket.gethostname()}
    strange["the user"] = getpass.getuser()
    for what, text in strange.items():
        if len(text) < SHORTEST:  # weights hold every pair of letters by chance
            continue
        holding = sorted(name for name, raw in texts.items() if text.encode() in raw)
        faults += [f"{what} is in {holding[:4]}"] if holding else []
    modes = {path.stat().st_mode & 0o777 for path in (work / "r").rglob("*") if path.is_file()}
    faults += [f"the umask is not kept: {sorted(map(oct, modes))}"] if modes - {0o600} else []
    code, _, err, *_ = forked.run(["run", work / "r" / "study.toml", "--out", work / "r"], work, before=before)
    faults += [f"the copy does not replay: {code} {err.strip()[-200:]}"] if code != 0 else []
    return "; ".join([*faults, *(["left over"] if leftovers(work / "r") or not base else [])])


CHECKS: tuple[Check, ...] = (
    an_error_sends_nothing_to_the_terminal,
    ids_that_break_lines_do_not_forge_lines,
    a_name_cannot_leave_its_folder,
    files_of_others_are_not_written_over,
    links_are_not_followed_when_writing,
    checkpoints_and_models_do_not_choose_code,
    arrays_hold_numbers_alone,
    archives_do_not_unfold_without_end,
    a_hostile_study_makes_pages_that_run_and_fetch_nothing,
    what_is_published_names_nobody,
)


def hostile_sources(folder: Path, draw: random.Random) -> Path:
    """The sources with hostile texts, ids, domains and names; the path of their study."""
    write_sources(folder)
    rows = [json.loads(line) for line in (folder / "pool.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["id"] = f"<script>alert(5)</script>{ESCAPES}`{number}"
        row["text"] = "".join(draw.sample([MARKUP, ESCAPES, row["text"]], 3))
        row["source"] = DOMAINS[number % len(DOMAINS)]
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = (folder / "study.toml").read_text().replace("vocab_size = 300", "vocab_size = 400")
    text = text.replace('name = "tiny"', 'name = "<script>alert(8)<script>"').replace(
        "[target.t]", '[target."<img src=x>"]'
    )
    (folder / "study.toml").write_text(text)
    return folder / "study.toml"


def forged(artefact: Path, copy: Path, name: str, **changes: object) -> Path:
    """A copy of an artefact with keys of one of its JSON files changed, and its hash in meta.json made right."""
    shutil.copytree(artefact, copy)
    raw = json.dumps(json.loads((copy / name).read_text()) | changes).encode()
    (copy / name).write_bytes(raw)
    meta = json.loads((copy / "meta.json").read_text())
    meta["files"][name] = {**meta["files"][name], "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    (copy / "meta.json").write_text(json.dumps(meta))
    return copy


def _commands_in(text: str) -> list[int]:
    """Where a text holds what a terminal obeys, or an override of its direction."""
    return [place for place, char in enumerate(text) if char in "\x07\x1b\x9b\u202e\u2066"]


def _limit(gigabytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (gigabytes * 2**30,) * 2)
