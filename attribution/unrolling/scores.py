"""Scores by going back through training: metagradients, and AdamW-influence as the cheaper sweep.

    score_i = - d (mean loss of the target after training) / d (weight of example i)

Higher is more helpful: with a larger weight on the example the target's loss ends lower. The derivative is with respect
to the weight that the example had in every step of the window; one that no step of it reads has the score 0.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from thresher.artifacts import Artifact, Draft, build
from thresher.attribution.gradients.slopes import weighted_gradients
from thresher.attribution.scoring.score_table import saved, write_scores
from thresher.attribution.unrolling.curvature import CURVATURES, Directions
from thresher.attribution.unrolling.replay import Replay
from thresher.attribution.unrolling.smoothness import ADVICE, LOW, smoothness_of
from thresher.attribution.unrolling.sweep import Cost, Window, keep_states, state_file, unroll
from thresher.data.batches import all_of
from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.progress import SILENT, Progress

METHODS = {"metagradient": "hessian", "adamw-influence": "gauss-newton"}
Replays = Sequence[tuple[str, Callable[[], Replay]]]
"""(content hash, maker of a replay that stands at its start) of each model."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Unrolling:
    """What going back through training is asked for."""

    method: str = "metagradient"
    """`metagradient` (exact) or `adamw-influence` (the Gauss-Newton matrix in place of the Hessian)."""
    curvature: str | None = None
    """`hessian`, `gauss-newton` or `fisher`; None: that of the method."""
    window: int | None = None
    """Weights are asked about in the last so many steps; None: in all."""
    output: str = "loss"
    """Of the target: `loss`, whose derivative is negated, or `margin`."""
    spacing: int | None = None
    """Steps between two states on disk; None: the root of the window. It changes memory and disk alone."""
    rows: int | None = None
    """Sequences differentiated at once, fewer for less memory; None: a whole part of a batch."""
    check_smoothness: bool = True
    """Measure metasmoothness first, by two further trainings of the window, and warn where it is low."""

    def __post_init__(self) -> None:
        """Raises InputError for what is unknown or out of range."""
        for name, known in {"method": METHODS, "output": ("loss", "margin")}.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is unknown; pass one of: {', '.join(known)}")
        if self.kind not in CURVATURES:
            raise InputError(f"curvature {self.kind!r} is unknown; pass one of: {', '.join(CURVATURES)}")
        if self.rows is not None and self.rows < 1:
            raise InputError(f"rows={self.rows} is out of range; pass 1 or more")

    @property
    def kind(self) -> str:
        """The curvature, with that of the method filled in."""
        return self.curvature or METHODS[self.method]

    @property
    def request(self) -> dict[str, Any]:
        """What decides the scores: spacing and rows change rounding at most."""
        return {"method": self.method, "curvature": self.kind, "window": self.window, "output": self.output}


def score_by_unrolling(
    replays: Replays,
    pool: Examples,
    targets: Mapping[str, Examples],
    *,
    out: Path,
    options: Unrolling = Unrolling(),
    progress: Progress = SILENT,
) -> Artifact:
    """Scores as `scoring.scores.score` writes them, the mean over replays; no features and no gradients are stored.

    Each target is one column, in which its examples count alike. A killed call goes on with the state or the step that
    it was at. Raises InputError where a replay does not end as its model, for a window longer than the training, and
    for derivatives that are not finite.
    """
    if not replays:
        raise InputError("no model given; pass at least one whose training can be replayed")
    for name, examples in {"pool": pool, **targets}.items():
        if len(examples) == 0:
            raise InputError(f"{name} has 0 examples; give data with at least one")

    def write(draft: Draft) -> dict[str, Any]:
        total, facts = np.zeros((len(targets), len(pool))), []
        for m, (_, make) in enumerate(replays):
            label = f"model {m + 1} of {len(replays)}"

            def made(m: int = m, make: Callable = make, label: str = label) -> dict[str, np.ndarray]:
                return _of_model(draft, m, make(), list(targets.values()), options, label, progress)

            found = saved(draft, f"slopes{m:03d}", made)
            shutil.rmtree(draft.state / f"replay{m:03d}", ignore_errors=True)
            total += found.pop("slopes") / len(replays)
            facts.append({name.removeprefix("fact "): value.item() for name, value in found.items()})
        scores = dict(zip(targets, total, strict=True))
        return {"replays": facts} | write_scores(draft, pool, scores, len(replays), targets)

    inputs = {"pool": pool.content_hash} | {f"target {name}": one.content_hash for name, one in targets.items()}
    inputs |= {f"model {m}": content_hash for m, (content_hash, _) in enumerate(replays)}
    config = options.request | {"targets": list(targets)}
    return build(out, kind="scores", config=config, seed=0, inputs=inputs, write=write)


def _of_model(
    draft: Draft, m: int, replay: Replay, targets: list[Examples], options: Unrolling, label: str, progress: Progress
) -> dict[str, np.ndarray]:
    """The scores by one replay, `slopes` [d, n], and the facts of it; states and cotangents are kept on the way."""
    begun, folder = time.perf_counter(), draft.state / f"replay{m:03d}"
    folder.mkdir(exist_ok=True, parents=True)
    window = Window.of(replay.num_steps, options.window, options.spacing)
    cost = Cost.of(replay, window, len(targets), options.kind, is_checked=options.check_smoothness)
    about = f", about {cost.passes * replay.seconds:.0f} s" if replay.seconds else ""
    log.info("%s: %s through the last %d steps, %s%s", label, options.method, window.steps, cost, about)
    keep_states(replay, window, folder, progress)
    facts: dict[str, float] = {"difference": replay.difference()}
    if options.check_smoothness:

        def measured() -> dict[str, np.ndarray]:
            return {"metasmoothness": np.array(smoothness_of(replay, window, folder, progress=progress))}

        facts["metasmoothness"] = found = saved(draft, f"smoothness{m:03d}", measured)["metasmoothness"].item()
        if not found >= LOW:
            log.warning("metasmoothness is %.2f, below %.2f: the scores may say little; %s", found, LOW, ADVICE)
        replay.restore(state_file(folder, replay.num_steps))
    means = [outcome_gradients(replay, target, output=options.output) for target in targets]
    gradients = {name: torch.cat([mean[name] for mean in means]) for name in replay.names}
    where = {"curvature": options.kind, "most": options.rows, "progress": progress}
    slopes = unroll(replay, gradients, window, folder, **where).numpy()
    facts |= asdict(cost) | {"num_steps": replay.num_steps, "window": window.steps}
    facts["seconds"] = time.perf_counter() - begun
    return {"slopes": slopes if options.output == "margin" else -slopes} | {
        f"fact {name}": np.array(value) for name, value in facts.items()
    }


def outcome_gradients(
    replay: Replay, target: Examples, weights: Float[Tensor, "n d"] | None = None, output: str = "loss"
) -> Directions:
    """The gradient of weighted sums of the target examples' `output`, at the replay's parameters, by parameter.

    [d, *shape], one for each column of `weights`; None: the mean over all examples, d = 1.
    """
    if weights is None:
        weights = torch.full((len(target), 1), 1 / len(target), dtype=torch.float64)
    was_training = replay.model.training
    replay.model.eval()
    gradients = weighted_gradients(replay.model, replay.names, all_of(target), weights, output)
    replay.model.train(was_training)
    return dict(gradients)
