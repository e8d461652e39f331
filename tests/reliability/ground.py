"""What the reliability programs stand on: tiny sources, the stages of the loop, files by their hashes, a report."""

import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.reliability import forked

# One thread: on a busy machine two OpenMP threads wait for each other, and the bytes depend on their number.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
MARK = "RELIABILITY_MARK"

STUDY = """
name = "tiny"
vocab_size = 300
sequence_length = 32
[pool]
data = "{src}/pool.jsonl"
id = "id"
domain = "source"
[target.t]
data = "{src}/target.jsonl"
prompt = "prompt"
continuation = "answer"
[proxy]
size = "20K"
count = 2
[reference]
size = "40K"
seeds = 2
[validate]
workers = 1
[attribution]
k = 32
[select]
tokens = 6000
"""

# Each stage of the loop: its arguments; inputs are read from {b} (finished once), outputs go into {o}.
STAGES = {
    "prepare": "prepare --data {b}/src/pool.jsonl --domain source --id id --vocab-size 300 --sequence-length 32"
    " --out {o}/pool",
    "target": "prepare --data {b}/src/target.jsonl --prompt prompt --continuation answer --tokenizer {b}/pool-tokenizer"
    " --sequence-length 32 --out {o}/tgt",
    "train": "train --pool {b}/pool --model 20K --epochs 4 --out {o}/proxy",
    "featurize": "featurize --models {b}/proxy {b}/proxy {b}/proxy --examples {b}/pool --k 32 --out {o}/pf",
    "ftarget": "featurize --models {b}/proxy {b}/proxy {b}/proxy --examples {b}/tgt --k 32 --out {o}/tf",
    "score": "score --pool {b}/pf --targets t={b}/tf --top 5 --out {o}/scores",
    "index": "index --features {b}/pf --out {o}/index",
    "select": "select --scores {b}/scores --pool {b}/pool --tokens 6000 --export {o}/export --out {o}/subset",
    "validate": "validate --pool {b}/pool --arms subset={b}/subset --targets t={b}/tgt --model 20K --seeds 2"
    " --workers 1 --out {o}/val",
    "run": "run {b}/src/study.toml --out {o}/run",
}
# What a stage reads of the others.
NEEDS = {
    "target": ["prepare"],
    "train": ["prepare"],
    "featurize": ["train"],
    "ftarget": ["train", "target"],
    "score": ["featurize", "ftarget"],
    "index": ["featurize"],
    "select": ["score"],
    "validate": ["select"],
}
# Files that say how long a run took: they are there or not.
OF_ITS_TIME = ("report.html", "report.json", "result.json", "card.md", "card.html")


@dataclass(frozen=True)
class Ground:
    """A folder to work in, with a `base` of sources and stages that were finished once and undisturbed."""

    root: Path

    @property
    def base(self) -> Path:
        """Where the sources and the finished stages lie; the sources are written when it is first asked for."""
        base = self.root / "base"
        if not (base / "src").exists():
            write_sources(base / "src")
        return base

    def finish(self, *stages: str) -> Path:
        """The base, with these stages and all that they read finished."""
        forked.warm()
        for name in stages:
            self.finish(*NEEDS.get(name, []))
            done = self.base / f".{name}.done"
            if not done.exists():
                code, _, err, *_ = forked.run(self.stage(name, self.base), self.base / "cwd", timeout=1200)
                if code != 0:
                    raise RuntimeError(f"the undisturbed {name} ends with {code}: {err.strip()[-500:]}")
                done.touch()
        return self.base

    def finish_for(self, *names: str) -> Path:
        """The base, with all that these read finished: stages, and other lines, which read no more than `validate`."""
        needed = [NEEDS.get(name, []) if name in STAGES else NEEDS["validate"] for name in names]
        return self.finish(*itertools.chain(*needed))

    def stage(self, name: str, out: Path) -> list[str]:
        """The command line of a stage that writes into `out`."""
        return self.line(STAGES[name], out)

    def line(self, text: str, out: Path) -> list[str]:
        """A command line in which {b} is the base and {o} is `out`."""
        return text.format(b=self.base, o=out).split()

    def fresh(self, name: str) -> Path:
        """An empty folder of this name."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


@dataclass
class Report:
    """What a program tried: how many cases, how each came out, and a line for every fault."""

    program: str
    tried: int = 0
    outcomes: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(self, outcome: str, fault: str = "") -> None:
        """Count a case; `fault` is empty when it came out as promised."""
        self.tried += 1
        self.outcomes[outcome] += 1
        if fault:
            self.faults.append(fault)

    def add_repeated(self, where: str, code: int | str, err: str, out: Path, wanted: Mapping[str, str]) -> None:
        """Count a command that was run again in `out`: it must end with the files `wanted` and leave nothing over."""
        if code != 0:
            self.add("lost", f"{where}: the second run ends with {code}: {err.strip()[-250:]}")
        elif hidden := leftovers(out):
            self.add("left over", f"{where}: left over {hidden[:4]}")
        elif others := differing(wanted, tree(out)):
            self.add("differing", f"{where}: differing {others[:4]}")
        else:
            self.add("survived")

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "program": self.program,
            "tried": self.tried,
            "outcomes": dict(self.outcomes),
            "faults": self.faults,
            "notes": self.notes,
        }


def write_sources(folder: Path, rows: int = 300) -> Path:
    """Write pool.jsonl (id, source, text), target.jsonl (prompt, answer), table.csv of losses and study.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    words = [f"w{i}" for i in range(300)]

    def say(count: int) -> str:
        return " ".join(draw.choice(words) for _ in range(count))

    pool = [{"id": f"d{i}", "source": f"s{i % 3}", "text": say(draw.randint(20, 80))} for i in range(rows)]
    target = [{"prompt": say(8), "answer": say(6)} for _ in range(60)]
    for name, table in (("pool", pool), ("target", target)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    losses = [f"{s},r{r},t,{2 + 1 / (r + 1) + i / 9}" for i, s in enumerate(("1M", "4M")) for r in range(6)]
    (folder / "table.csv").write_text("\n".join(["size,recipe,test_set,loss", *losses]) + "\n")
    (folder / "study.toml").write_text(STUDY.format(src=folder))
    return folder


def write_pictures(ground: Ground) -> None:
    """Write the vision demo's pool, target and a random subset, prepared, into the base's `pictures`."""
    from thresher.studies.demo.vision import write_vision_demo

    folder = ground.base / "pictures"
    if (folder / "subset").exists():
        return
    forked.warm()
    write_vision_demo(folder / "src", seed=0)
    for line in (
        *(
            f"prepare --task vision --data {folder}/src/{x}.parquet --id id --out {folder}/{x}"
            for x in ("pool", "target")
        ),
        f"select --pool {folder}/pool --method random --fraction 0.3 --out {folder}/subset",
    ):
        code, _, err, *_ = forked.run(line.split(), ground.base / "cwd")
        if code != 0:
            raise RuntimeError(f"{line} ends with {code}: {err.strip()[-500:]}")


def tree(folder: Path) -> dict[str, str]:
    """Path -> hash of every file below `folder`; what a run notes of its own time is left out.

    Of an artefact's meta.json that is the content hash (and of an export that it is there: its card says seconds).
    """
    hashes = {}
    for file in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if file.name == "meta.json":
            meta = json.loads(file.read_text())
            hashes[name] = "there" if meta["kind"] == "export" else meta["content_hash"]
        elif file.name in OF_ITS_TIME:
            hashes[name] = "there"
        else:
            hashes[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return hashes


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The files of two trees that are in one alone, or not the same in both."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def leftovers(folder: Path) -> list[str]:
    """What a finished run should not leave: hidden files and folders."""
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob(".*"))


def not_one_line(code: int | str, err: str) -> str:
    """Empty when a refusal is what the README promises (status 2, one line), else what is wrong with it."""
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith("thresher: warning:")]
    if "Traceback (most recent call last)" in err:
        return "traceback"
    if code != 2:
        return f"exit {code}"
    return "" if len(lines) == 1 and lines[0].startswith("thresher: error:") else f"{len(lines)} lines"


def start(arguments, folder: Path, *, mark: str | None = None, prefix=(), env=None, before=None, quiet=True, **options):
    """The command as a cold process in a group of its own, marked so that its children are found by `marked`.

    `quiet`: without lines about progress. `before` is called in the process before the command starts; Ctrl-C reaches
    it, whatever started us.
    """
    mark = mark or uuid.uuid4().hex
    arguments = [*arguments, "--quiet"] if quiet else arguments

    def in_child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if before:
            before()

    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "thresher", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **ENVIRONMENT, MARK: mark, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
        errors="replace",
        preexec_fn=in_child,
        **options,
    )
    process.mark = mark  # type: ignore[attr-defined]
    return process


def run(arguments, folder: Path, *, timeout: float = 300, **options) -> tuple[int | str, str, str, float]:
    """Exit status, stdout, stderr, seconds of a cold process; "stuck" for a status when it does not end."""
    begun = perf_counter()
    process = start(arguments, folder, **options)
    try:
        out, err = process.communicate(timeout=timeout)
        code: int | str = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        code = "stuck"
    return code, out, err, perf_counter() - begun


def marked(mark: str) -> list[int]:
    """Living processes that inherited the mark of `start`."""
    living = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes() and (
                    (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                ):
                    living.append(int(entry.name))
            except OSError:
                pass
    return living


def is_heeded(pid: int, number: int) -> bool:
    """Whether the process has asked for the signal, by its mask in /proc; Python itself asks for SIGINT."""
    number = signal.SIGTERM if number == signal.SIGINT else number
    with suppress(OSError):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        return bool(int(status["SigCgt"], 16) >> (number - 1) & 1)
    return False
