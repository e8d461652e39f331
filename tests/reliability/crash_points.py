"""A process that ends at its n-th touch of a file, in every stage, and then the same command again.

The second run must finish with every file the same as an undisturbed run's, and leave nothing hidden behind.
"""

import random
import shutil

from tests.reliability import forked
from tests.reliability.ground import STAGES, Ground, Report, tree, write_pictures

# Work whose unfinished state is not that of a stage.
MORE = {
    "direction": "score --pool {b}/tgt --targets t={b}/tgt --scorer direction --models {b}/proxy --out {o}/scores",
    "ekfac": "score --pool {b}/tgt --targets t={b}/tgt --scorer ekfac --sample 20 --per-token 2 --models {b}/proxy"
    " --out {o}/scores",
    "retrainings": "lds --pool {b}/tgt --target {b}/tgt --model 20K --subsets 4 --repeats 1 --checkpoints 1 --k 8"
    " --workers 1 --scorers random --out {o}/lds",
    "stacked": "validate --pool {b}/pictures/pool --arms a={b}/pictures/subset --targets t={b}/pictures/target"
    " --model mlp-16x1 --seeds 3 --epochs 2 --workers 1 --out {o}/val",
}
# Trainings whose state is kept after every step, so that ends come within it.
TRAINING = ("train", "validate", "run", "retrainings")

FAST = {"count": 3, "stages": ("prepare", "target")}


def check(ground: Ground, *, count: int, seed: int, stages: tuple[str, ...] = (*STAGES, *MORE)) -> Report:
    """`count` ends, spread evenly over the stages and drawn over the touches of each."""
    work, draw, report = ground.fresh("crash"), random.Random(seed), Report("crash_points")
    for number, name in enumerate(stages):
        share = (number + 1) * count // len(stages) - number * count // len(stages)
        if share:
            _end_and_repeat(ground, name, work, draw, report, share)
    return report


def _end_and_repeat(ground: Ground, name: str, work, draw: random.Random, report: Report, count: int) -> None:
    if name == "stacked":
        write_pictures(ground)
    ground.finish_for(name)
    line = (STAGES | MORE)[name]
    before = forked.eager if name in TRAINING else None
    whole = work / f"{name}-whole"
    code, _, err, _, touches = forked.run(ground.line(line, whole), whole, count_in=whole, before=before)
    if code != 0:
        raise RuntimeError(f"the undisturbed {name} ends with {code}: {err.strip()[-500:]}")
    wanted = tree(whole)
    for point in sorted(draw.sample(range(1, touches + 1), min(count, touches))):
        out = work / f"{name}-{point}"
        killed, *_ = forked.run(ground.line(line, out), out, die_at=point, count_in=out, before=before)
        code, _, err, *_ = forked.run(ground.line(line, out), out, before=before)
        where = f"{name} at touch {point} of {touches}"
        if killed != -9:
            report.add("not killed", f"{where}: was not killed ({killed})")
        else:
            report.add_repeated(where, code, err, out, wanted)
        shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(whole)
