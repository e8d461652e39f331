"""Two commands with one place: one stopped at its n-th touch of a file while the other runs whole, and real races.

Asked of the same request and of another one. One must finish; the other may finish the same or say in one line what is
in its way; what is left is a whole artefact with nothing beside it.
"""

import random
import shutil
from pathlib import Path

from tests.reliability import forked
from tests.reliability.ground import STAGES, Ground, Report, differing, leftovers, not_one_line, tree
from thresher.artifacts import open_artifact
from thresher.errors import InputError

# The place, and the command that makes it; another request is the same with another seed.
PAIRS = {
    "prepare": ("{o}/tgt", STAGES["target"]),
    "train": ("{o}/m", "train --pool {b}/pool --model 20K --fraction 0.05 --out {o}/m"),
    "featurize": ("{o}/tf", "featurize --models {b}/proxy --examples {b}/tgt --k 8 --out {o}/tf"),
    "select": ("{o}/s", "select --scores {b}/scores --fraction 0.2 --out {o}/s"),
}
OTHER = ["--seed", "5"]
# What the one that does not finish may say.
REASONS = ("another process", "was made with")
FAST = {"count": 3, "names": ("prepare",)}


def check(ground: Ground, *, count: int, seed: int, names: tuple[str, ...] = tuple(PAIRS)) -> Report:
    """`count` pairs: stops at the first touches of each command, then drawn ones; every fifth is a race."""
    ground.finish("select" if "select" in names else "prepare")
    work, draw, report = ground.fresh("both"), random.Random(seed), Report("concurrency")
    commands = {}
    for name in names:
        line = PAIRS[name][1]
        out = work / "count"
        *_, touches = forked.run(ground.line(line, out), out, count_in=out)
        commands[name] = touches, tree(out)
        shutil.rmtree(out)
    for number in range(count):
        name, other = names[number % len(names)], (number // len(names)) % 2 == 1
        touches, wanted = commands[name]
        early = number // (2 * len(names)) + 1
        stop = None if number % 5 == 4 else early if early <= 2 else draw.randrange(1, touches + 1)
        _both(ground, work / f"{name}-{number}", name, other, stop, wanted, report)
    return report


def _both(ground: Ground, out: Path, name: str, other: bool, stop: int | None, wanted: dict, report: Report) -> None:
    place, line = PAIRS[name]
    first = forked.spawn(ground.line(line, out), out, stop_at=stop, count_in=out)
    stopped = stop is not None and first.until_stopped()
    second = forked.spawn(ground.line(line, out) + (OTHER if other else []), out)
    if stop is None:
        codes = {"first": first.wait(), "second": second.wait()}
    else:
        codes = {"second": second.wait()}
        if stopped:
            first.go_on()
        codes["first"] = first.wait()
    where = f"{name}, {'another' if other else 'the same'} request, " + (f"stopped at touch {stop}" if stop else "race")
    faults = []
    for who, (code, _, err, *_) in codes.items():
        if code != 0 and (wrong := not_one_line(code, err)):
            faults.append(f"the {who} ends with {wrong}: {err.strip()[-200:]}")
        elif code == 2 and not any(reason in err for reason in REASONS):
            faults.append(f"the {who} says {err.strip()[-200:]}")
    finished = [who for who, (code, *_) in codes.items() if code == 0]
    if not finished:
        faults.append("neither finished")
    if other and len(finished) == 2:
        faults.append("both say that they made it")
    try:
        open_artifact(Path(place.format(o=out)), verify=True)
        if not other and (others := differing(wanted, tree(out))):
            faults.append(f"differing {others[:4]}")
    except InputError as error:
        faults.append(f"not whole: {error}")
    if hidden := leftovers(out):
        faults.append(f"left over {hidden[:4]}")
    report.add("whole" if not faults else "not whole", f"{where}: {'; '.join(faults)}" if faults else "")
    shutil.rmtree(out)
