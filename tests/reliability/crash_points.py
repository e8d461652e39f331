"""A process that ends at its n-th touch of a file, in every stage, and then the same command again.

The second run must finish with every file the same as an undisturbed run's, and leave nothing hidden behind.
"""

import random
import shutil

from tests.reliability import forked
from tests.reliability.ground import STAGES, Ground, Report, differing, leftovers, tree

# Trainings whose state is kept after every step, so that ends come within it.
TRAINING = ("train", "validate", "run")


def check(ground: Ground, *, count: int, seed: int, stages: tuple[str, ...] = tuple(STAGES)) -> Report:
    """`count` ends, spread evenly over the stages and drawn over the touches of each."""
    base, work, draw, report = (
        ground.finish("select"),
        ground.fresh("crash"),
        random.Random(seed),
        Report("crash_points"),
    )
    for number, name in enumerate(stages):
        before = forked.eager if name in TRAINING else None
        whole = work / f"{name}-whole"
        code, _, err, _, touches = forked.run(ground.stage(name, whole), whole, count_in=whole, before=before)
        if code != 0:
            raise RuntimeError(f"the undisturbed {name} ends with {code}: {err.strip()[-500:]}")
        wanted = tree(whole)
        share = (number + 1) * count // len(stages) - number * count // len(stages)
        for point in sorted(draw.sample(range(1, touches + 1), min(share, touches))):
            out = work / f"{name}-{point}"
            killed, *_ = forked.run(ground.stage(name, out), out, die_at=point, count_in=out, before=before)
            code, _, err, *_ = forked.run(ground.stage(name, out), out, before=before)
            where = f"{name} at touch {point} of {touches}"
            if killed != -9:
                report.add("not killed", f"{where}: was not killed ({killed})")
            elif code != 0:
                report.add("lost", f"{where}: the second run ends with {code}: {err.strip()[-250:]}")
            elif hidden := leftovers(out):
                report.add("left over", f"{where}: left over {hidden[:4]}")
            elif others := differing(wanted, tree(out)):
                report.add("differing", f"{where}: differing {others[:4]}")
            else:
                report.add("survived")
            shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(whole)
    assert base.exists()
    return report
