"""Flips, cuts, zeroes, lengthens, deletes and swaps files of finished and of unfinished work, then uses them.

Of finished work every change must be found before anything is made of it: status 2 and one line. Unfinished work must
be continued to the same result as if nothing had happened, or refused in one line that says what to do.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.reliability import forked
from tests.reliability.ground import STAGES, Ground, Report, differing, not_one_line, tree

# What reads each artefact {a} of the base, and writes into {o}.
READERS = {
    "pool-tokenizer": "prepare --data {b}/src/target.jsonl --prompt prompt --continuation answer --tokenizer {a}"
    " --sequence-length 32 --out {o}/x",
    "pool": "train --pool {a} --model 20K --fraction 0.02 --out {o}/x",
    "tgt": "featurize --models {b}/proxy --examples {a} --k 8 --out {o}/x",
    "proxy": "featurize --models {a} --examples {b}/tgt --k 8 --out {o}/x",
    "pf": "index --features {a} --out {o}/x",
    "tf": "score --pool {b}/pf --targets t={a} --out {o}/x",
    "scores": "select --scores {a} --fraction 0.2 --out {o}/x",
    "index": "search --index {a} --target {b}/tf --example 3 --top 5 --json",
    "subset": "train --pool {b}/pool --selection {a} --model 20K --fraction 0.05 --out {o}/x",
}
# Work that is ended in the middle.
UNFINISHED = {
    "featurize": STAGES["featurize"].replace("{b}/pool", "{b}/tgt"),
    "train": "train --pool {b}/pool --model 20K --fraction 0.2 --out {o}/m",
    "retrainings": "lds --pool {b}/tgt --target {b}/tgt --model 20K --subsets 4 --repeats 1 --checkpoints 1 --k 8"
    " --workers 1 --scorers random --out {o}/lds",
    "direction": "score --pool {b}/tgt --targets t={b}/tgt --scorer direction --models {b}/proxy --out {o}/scores",
    "ekfac": "score --pool {b}/tgt --targets t={b}/tgt --scorer ekfac --sample 20 --per-token 2 --models {b}/proxy"
    " --out {o}/scores",
}
# One case in so many is of unfinished work.
UNFINISHED_SHARE = 5
FAST = {"count": 10, "readers": ("pool-tokenizer", "pool"), "unfinished": ("train",)}


def check(
    ground: Ground,
    *,
    count: int,
    seed: int,
    readers: tuple[str, ...] = tuple(READERS),
    unfinished: tuple[str, ...] = tuple(UNFINISHED),
) -> Report:
    """`count` changes, drawn over artefacts, their files and the kinds of damage."""
    ground.finish(*(["target", "index", "select"] if readers == tuple(READERS) else ["prepare"]))
    work, draw, report = ground.fresh("damage"), random.Random(seed), Report("damage")
    undisturbed: dict[str, tuple] = {}
    while report.tried < count:  # a change that changed no byte is none
        if report.tried % UNFINISHED_SHARE == UNFINISHED_SHARE - 1:
            name = draw.choice(unfinished)
            if name not in undisturbed:
                undisturbed[name] = _undisturbed(ground, name, work)
            _unfinished(ground, name, work, draw, report, *undisturbed[name])
        else:
            _finished(ground, draw.choice(readers), work, draw, report)
    return report


def _finished(ground: Ground, name: str, work: Path, draw: random.Random, report: Report) -> None:
    case = work / "case"
    shutil.copytree(ground.base / name, case / "a")
    files = sorted(path for path in (case / "a").iterdir())
    file, kind = draw.choice(files), draw.choice(list(KINDS))
    what = harm(file, kind, files, draw)
    # Without meta.json a folder with a tokenizer.json is a tokenizer of somebody else's, and a sound one.
    if what and not (name == "pool-tokenizer" and file.name == "meta.json" and kind == "delete"):
        line = READERS[name].format(a=case / "a", b=ground.base, o=case / "o")
        code, _, err, *_ = forked.run(line.split(), case / "cwd")
        where = f"{name}/{file.name}: {what}"
        if code == 0:
            report.add("undetected", f"{where}: was believed")
        elif wrong := not_one_line(code, err):
            report.add("ugly", f"{where}: {wrong}: {err.strip()[-250:]}")
        else:
            report.add("found")
    shutil.rmtree(case)


def _undisturbed(ground: Ground, name: str, work: Path) -> tuple[dict[str, str], int]:
    whole = work / f"{name}-whole"
    line, before = ground.line(UNFINISHED[name], whole), forked.eager
    code, _, err, _, touches = forked.run(line, whole, count_in=whole, before=before)
    if code != 0:
        raise RuntimeError(f"the undisturbed {name} ends with {code}: {err.strip()[-500:]}")
    wanted = tree(whole)
    shutil.rmtree(whole)
    return wanted, touches


def _unfinished(
    ground: Ground, name: str, work: Path, draw: random.Random, report: Report, wanted: dict[str, str], touches: int
) -> None:
    out = work / "partial"
    line, before = ground.line(UNFINISHED[name], out), forked.eager
    pieces: list[Path] = []
    while not pieces:
        shutil.rmtree(out, ignore_errors=True)
        forked.run(line, out, die_at=draw.randrange(touches // 4, touches), count_in=out, before=before)
        inside = (path for path in sorted(out.rglob("*")) if ".partial" in str(path) and path.is_file())
        pieces = [path for path in inside if ".tmp" not in path.name and path.name != "meta.json"]
    file, kind = draw.choice(pieces), draw.choice(list(KINDS))
    what = harm(file, kind, pieces, draw)
    if what:
        code, _, err, *_ = forked.run(line, out, before=before)
        where = f"unfinished {name}, {file.relative_to(out)}: {what}"
        if code == 0 and (others := differing(wanted, tree(out))):
            report.add("believed", f"{where}: differing {others[:4]}")
        elif code == 0:
            report.add("continued")
        elif wrong := not_one_line(code, err):
            report.add("ugly", f"{where}: {wrong}: {err.strip()[-250:]}")
        else:
            report.add("refused")
    shutil.rmtree(out)


def harm(file: Path, kind: str, files: list[Path], draw: random.Random) -> str:
    """Damage a file (with `swap` another too); says how, or nothing if that changed no byte."""
    before = file.read_bytes()
    what = KINDS[kind](file, files, draw)
    return "" if file.exists() and file.read_bytes() == before else what


def _flip(file: Path, files: list[Path], draw: random.Random) -> str:
    raw = bytearray(file.read_bytes())
    if not raw:
        return ""
    place = draw.randrange(len(raw))
    raw[place] ^= 1 << draw.randrange(8)
    file.write_bytes(raw)
    return f"a bit of byte {place} of {len(raw)}"


def _truncate(file: Path, files: list[Path], draw: random.Random) -> str:
    raw = file.read_bytes()
    if not raw:
        return ""
    cut = draw.randrange(len(raw))
    file.write_bytes(raw[:cut])
    return f"cut to {cut} of {len(raw)}"


def _zero(file: Path, files: list[Path], draw: random.Random) -> str:
    raw = bytearray(file.read_bytes())
    if not raw:
        return ""
    start, length = draw.randrange(len(raw)), draw.choice((16, 512, 4096))
    raw[start : start + length] = bytes(len(raw[start : start + length]))
    file.write_bytes(raw)
    return f"{length} zeroes from {start} of {len(raw)}"


def _append(file: Path, files: list[Path], draw: random.Random) -> str:
    file.write_bytes(file.read_bytes() + draw.choice((b"\0", b"\n", b" ", b"}")))
    return "a byte more"


def _delete(file: Path, files: list[Path], draw: random.Random) -> str:
    file.unlink()
    return "deleted"


def _swap(file: Path, files: list[Path], draw: random.Random) -> str:
    alike = [other for other in files if other != file and other.suffix == file.suffix] or files
    other = draw.choice(alike)
    one, two = file.read_bytes(), other.read_bytes()
    file.write_bytes(two)
    other.write_bytes(one)
    return f"swapped with {other.name}"


KINDS: dict[str, Callable[[Path, list[Path], random.Random], str]] = {
    "flip": _flip,
    "truncate": _truncate,
    "zero": _zero,
    "append": _append,
    "delete": _delete,
    "swap": _swap,
}
