"""Commands and studies with one mistake each, drawn by seed: status 2 and one line, nothing written over or left over.

Every case is a command line that works, or the study.toml of one, with one change: a wrong value, an option that is
missing, misspelt or given twice, a file of another kind.
"""

import json
import os
import random
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.reliability import forked
from tests.reliability.ground import Ground, Report, leftovers, not_one_line
from tests.reliability.mistakes import in_command, in_study

# Options that a working line of each command has; {b} is the base, {t} the folder of broken things.
TRANSFER = "--pool {b}/pool --test-sets t={b}/tgt --recipes a=domain:s0 b=domain:s1 c=domain:s2"
COMMANDS = {
    "prepare": "prepare --data {b}/src/pool.jsonl --text text --domain source --id id --vocab-size 300"
    " --sequence-length 32 --part 0 0.5 --limit 50 --seed 1 --bad-rows refuse --tokenizer {b}/pool-tokenizer --group id"
    " --task language --out o",
    "prepare target": "prepare --data {b}/src/target.jsonl --prompt prompt --continuation answer --tokenizer"
    " {b}/pool-tokenizer --sequence-length 32 --limit 20 --out o",
    "prepare vision": "prepare --task vision --data {b}/src --image image --label label --size 8 --out o",
    "overlap": "overlap --data {b}/src/pool.jsonl --targets t={b}/src/target.jsonl --text text --ngram 5 --out o",
    "train": "train --pool {b}/pool --model 20K --fraction 0.1 --selection {b}/subset --mixture s0=.5,s1=.5 --epochs 1"
    " --batch-size 16 --learning-rate 0.001 --optimizer adamw --schedule cosine --precision float32 --accumulate 1"
    " --seed 0 --device cpu --out o",
    "featurize": "featurize --models {b}/proxy --examples {b}/tgt --k 16 --projection two-sided --output margin"
    " --parameters attn --precision float32 --batch-tokens 512 --executor processes --seed 0 --device cpu --out o",
    "score": "score --pool {b}/pf --targets t={b}/tf --damping 1 --q sqrt --convention thresher --top 3 --scorer"
    " trak --backend thresher --out o",
    "score direct": "score --pool {b}/tgt --targets t={b}/tgt --models {b}/proxy --scorer dual --memory-gb 1"
    " --batch-tokens 512 --damping 1 --out o",
    "score curvature": "score --pool {b}/tgt --targets t={b}/tgt --models {b}/proxy --scorer ekfac --sample 20 --rank 1"
    " --per-token 2 --curvature-damping 0.1 --evidence ev --seed 0 --device cpu --out o",
    "index": "index --features {b}/pf --damping 1 --q sqrt --out o",
    "search": "search --index {b}/index --target {b}/tf --example 3 --top 3 --pool {b}/pool",
    "explore": "explore {b}/scores --pool {b}/pool --targets t={b}/tgt --selection {b}/subset --features {b}/pf"
    " --target-features t={b}/tf --models {b}/proxy --page-mb 1 --top 3 --device cpu --out o.html",
    "select": "select --scores {b}/scores --pool {b}/pool --fraction 0.1 --method dsdm --seed 0 --export e --format"
    " jsonl --rows-per-shard 100 --out o",
    "select features": "select --features {b}/pf --target-features t={b}/tf --count 10 --method gradient_norm --out o",
    "validate": "validate --pool {b}/pool --arms a={b}/subset --targets t={b}/tgt --model 20K --seeds 2 --epochs 0.1"
    " --workers 1 --batch-size 16 --learning-rate 0.001 --costs a=1e9 --seed 0 --executor processes --out o",
    "lds": "lds --pool {b}/tgt --target {b}/tgt --model 20K --subsets 3 --repeats 1 --checkpoints 1 --k 16 --fraction"
    " 0.5 --epochs 0.1 --workers 1 --scorers trak random --damping 1 --q sqrt --output margin --baseline random --out"
    " o",
    "mix table": "mix table {b}/src/table.csv --method ensemble --resamples 5 --seed 0",
    "mix plan": "mix plan a b c --runs 4 --prior a=1 b=1 c=1 --floors a=0.1 --ceilings b=0.9 --seed 0 --out plan.csv",
    "mix runs": "mix runs --pool {b}/pool --targets t={b}/tgt --model 20K --examples 40 --runs 4 --workers 1"
    " --resamples 5 --batch-size 16 --seed 0 --out o",
    "mix scores": "mix scores --scores {b}/scores --pool {b}/pool --kl-weight 1 --resamples 5",
    "mix validate": "mix validate --pool {b}/pool --targets t={b}/tgt --mixtures a=s0:1 b=s1:1 --model 20K --examples"
    " 40 --seeds 2 --workers 1 --out o",
    "mix doremi": "mix doremi --pool {b}/pool --model 20K --examples 40 --eta 1 --smoothing 0.001 --seeds 1 --out o",
    "from-table": "study from-table {b}/src/table.csv --reference 4M --proxies 1M --criterion spearman --threshold 0.9"
    " --top 1 --resamples 20 --seed 0",
    "transfer": f"study transfer {TRANSFER} --sizes 20K 60K --examples 40 --seeds 1 --epochs 1 --workers 1 --resamples"
    " 5 --threshold 0.9 --out o",
    "learning-rate": f"study learning-rate {TRANSFER} --proxy 20K --reference 60K --rates 0.001 0.002 --reference-rates"
    " 0.001 --examples 40 --seeds 1 --workers 1 --resamples 5 --out o",
    "verdict": "study verdict {b}/scores --threshold 0.9 --top 1 --resamples 5",
    "report": "report {b}/src --out page.html",
    "run": "run {b}/src/study.toml --out o --executor processes --device cpu",
    "doctor": "doctor --device cpu",
    "demo": "demo --task vision --seed 0 --device cpu --out o",
}
MEMORY = 12 * 2**30
SECONDS = 60.0


def check(ground: Ground, *, count: int, seed: int) -> Report:
    """`count` mistakes, half of them in studies."""
    base = ground.finish("select", "index", "target")
    work, draw, report = ground.fresh("bad"), random.Random(seed), Report("bad_inputs")
    things = broken_things(work / "things", base / "pool-tokenizer")
    drawn = ((name, *mistake) for name, line in COMMANDS.items() for mistake in in_command(name, line))
    cases = [(f"{name}: {what}", words, None) for name, what, words in drawn]
    text = (base / "src" / "study.toml").read_text() + "[validate]\nworkers = 1\n"
    studies = [(f"study: {what}", ["run", "study.toml", "--out", "o"], changed) for what, changed in in_study(text)]
    half = min(count // 2, len(studies))
    before = _state(base)
    for number, (what, words, study) in enumerate([*draw.sample(cases, count - half), *draw.sample(studies, half)]):
        folder = work / f"case{number}"
        folder.mkdir()
        if study is not None:
            (folder / "study.toml").write_text(study, encoding="utf-8")
        words = [word.replace("{b}", str(base)).replace("{t}", str(things)) for word in words]
        code, _, err, *_ = forked.run(words, folder, timeout=SECONDS, before=_limit_memory)
        wrong = "" if code == 0 else not_one_line(code, err)
        changed = [name for name, state in _state(base).items() if before.get(name) != state]
        hidden = leftovers(folder) if code == 2 else []
        for outcome, seen in (("wrote over", changed[:3]), (wrong, err.strip()[-300:]), ("left over", hidden[:3])):
            if outcome and seen:
                report.add(outcome, f"{what} ({' '.join(words)[:120]}): {outcome}: {seen}")
                break
        else:
            report.add("accepted" if code == 0 else "refused")
        before = _state(base) if changed else before
        shutil.rmtree(folder, ignore_errors=True)
    return report


def broken_things(folder: Path, artefact: Path) -> Path:
    """Files, and copies of an artefact, that are wrong in the ways that files are wrong."""
    folder.mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "text").write_text("hello\n")
    (folder / "empty.jsonl").write_text("")
    (folder / "json.jsonl").write_text('{"text": 1}\n{"text": null}\n[1]\n{"text": "x", "text": "y"}\nnot json\n')
    (folder / "latin.jsonl").write_bytes('{"text": "é", "id": "a"}\n'.encode("latin-1"))
    (folder / "deep.jsonl").write_text("[" * 100_000 + "\n")
    (folder / "nan.csv").write_text("size,recipe,test_set,loss\n1M,a,t,nan\n1M,b,t,inf\n4M,a,t,-inf\n4M,b,t,x\n")
    (folder / "noheader.csv").write_text("1,2,3\n4,5,6\n")
    (folder / "null.bin").write_bytes(bytes(1000))
    (folder / "not.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    for name in ("flipped", "truncated", "nometa", "badmeta", "oldmeta"):
        shutil.copytree(artefact, folder / name)
    inside = next(path for path in (folder / "flipped").iterdir() if path.name != "meta.json").name
    flipped = bytearray((folder / "flipped" / inside).read_bytes())
    flipped[len(flipped) // 2] ^= 255
    (folder / "flipped" / inside).write_bytes(flipped)
    os.truncate(folder / "truncated" / inside, 100)
    (folder / "nometa" / "meta.json").unlink()
    (folder / "badmeta" / "meta.json").write_text("{")
    meta = json.loads((folder / "oldmeta" / "meta.json").read_text())
    (folder / "oldmeta" / "meta.json").write_text(json.dumps({**meta, "schema": 99}))
    return folder


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "cwd" not in path.parts)
