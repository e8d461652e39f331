"""A report of made-up results, with every part of it."""

import numpy as np

from thresher.intervals import Interval
from thresher.selection.statistics.comparison import Measurement
from thresher.studies.report.content import (
    Choice,
    Example,
    Held,
    Model,
    NoisyLabels,
    Report,
    Reproduction,
    Results,
    SizeLoss,
    Stage,
    Trust,
    histogram_of,
)

LONG = "A sentence that is told again. " * 40


def runs(tasks=("squad", "gsm8k"), seeds=4, **shift: float) -> list[Measurement]:
    """Losses with a seed effect that pairing cancels, and a little noise that it does not."""
    rng = np.random.default_rng(0)
    effect = rng.normal(size=seeds)
    return [
        Measurement(arm, seed, task, float(6 + by + effect[seed] + rng.normal(scale=0.001)))
        for task in tasks
        for arm, by in {"random": 0.0, **shift}.items()
        for seed in range(seeds)
    ]


def full_report(**changes) -> Report:
    scores = np.random.default_rng(1).normal(size=500)
    kept = np.argsort(-scores)[:100]
    parts = {
        "title": "Selecting <for> squad",
        "settings": {"Pool": "500 & more"},
        "choice": Choice(
            method="dsdm",
            num_pool=500,
            num_kept=100,
            seed=7,
            domain_shares={"law": {"before": 0.5, "after": 0.9}, "$we$b": {"before": 0.5, "after": 0.1}},
            top=[Example(id="a1", text="<script>alert(1)</script>", score=2.5, domain="law")],
            bottom=[Example(id="b2", text=LONG, score=-1.5, image="data:image/png;base64,AAAA")],
            histogram=histogram_of(scores, kept),
        ),
        "results": Results(runs=runs(dsdm=-0.21, bottom=0.4), off_target=runs(["law"], dsdm=0.05, bottom=0.1)),
        "models": [Model(name="proxy", parameters=394_000, count=2), Model(name="reference", parameters=1, flops=1e12)],
        "stages": [
            Stage(name="train proxies", seconds=125, flops=2e12),
            Stage(name="validate", seconds=9000, cached=True, selects=False),
        ],
        "noisy_labels": NoisyLabels(auc=0.87, low=0.85, high=0.89, num_noisy=180, num_examples=1797),
        "trust": Trust(
            size="0.4M",
            reference="1.6M",
            num_arms=3,
            num_seeds=4,
            sentence="No proxy can be trusted with <that>.",
            rows=[
                Held(
                    test_set="squad",
                    r2=0.8,
                    spearman=0.5,
                    accuracy=2 / 3,
                    low=0.0,
                    high=1.0,
                    regret=Interval(0.0123, 0.0, 0.045),
                    pairs_apart=2,
                )
            ],
            losses=[
                SizeLoss(size=size, recipe=arm, test_set="squad", loss=by)
                for size in ("0.4M", "1.6M")
                for by, arm in enumerate("abc")
            ],
        ),
        "reproduction": Reproduction(command="thresher run study.toml", study="[pool]", versions={"torch": "2"}),
    }
    return Report(**{**parts, **changes})
