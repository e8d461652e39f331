"""What a report holds: numbers as they were measured, from which sentences, intervals and charts are made anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from thresher.intervals import Interval, MeanInterval
from thresher.selection.statistics.comparison import Measurement


@dataclass(frozen=True, kw_only=True)
class Example:
    """An example of the pool that a person should see."""

    id: str
    text: str
    """The whole text, white space as it is, or what is said of an image ("label: cat")."""
    score: float
    domain: str = ""
    image: str | None = None
    """A `data:image/png;base64,...` URI."""
    targets: Mapping[str, float] = field(default_factory=dict)
    """Target -> score for it: whom the example serves."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many kept and dropped examples score between edges[i] and edges[i + 1]."""

    edges: list[float]
    kept: list[int]
    dropped: list[int]


def histogram_of(scores: Float[np.ndarray, "n"], kept: Int[np.ndarray, "k"], num_bins: int = 60) -> Histogram:
    """The histogram of all scores, split by whether the position is in `kept`."""
    is_kept = np.zeros(len(scores), dtype=bool)
    is_kept[kept] = True
    edges = np.histogram_bin_edges(scores, num_bins)
    counts = [np.histogram(scores[mask], edges)[0].tolist() for mask in (is_kept, ~is_kept)]
    return Histogram(edges=edges.tolist(), kept=counts[0], dropped=counts[1])


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was selected."""

    method: str
    num_pool: int
    num_kept: int
    seed: int
    share: float | None = None
    """Of the pool's tokens; None where examples are alike."""
    domain_shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """domain -> {"before", "after"}, as in the facts of a selection."""
    top: Sequence[Example] = ()
    bottom: Sequence[Example] = ()
    histogram: Histogram | None = None
    by_models: bool = True
    """Whether the method looks at what the proxies say."""

    @property
    def unit(self) -> str:
        """What shares are of."""
        return "examples" if self.share is None else "tokens"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One trained model on one task, by what its training took."""

    arm: str
    seed: int
    task: str
    loss: float
    flops: float


@dataclass(frozen=True, kw_only=True)
class Worth:
    """How many times the random data would do what the chosen data does, with 95 % intervals over seeds."""

    task: str
    """The target, or that of all together."""
    alone: MeanInterval | None
    """None where more random data did not lower the loss, so that nothing can be said in data."""
    with_cost: MeanInterval | None = None
    """The compute of selecting added to what training took."""
    beyond: bool = False
    """Whether that lies outside the budgets of random data that were trained."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the reference models did: one row a trained model and task, and which arms the verdict is about."""

    runs: Sequence[Measurement]
    off_target: Sequence[Measurement] = ()
    """The same models on tasks that the selection was not made for."""
    chosen: str = "dsdm"
    baseline: str = "random"
    budget: str = ""
    """What every arm was given alike: "3,120 examples, 2 epochs"."""
    curve: Sequence[Point] = ()
    """Arms and random data of several budgets, where there were any."""
    remarks: Sequence[str] = ()
    """Places and compute multipliers, a line each."""
    worth: Sequence[Worth] = ()
    """Of the chosen arm, a target each, that of all together last; empty where too few budgets were trained."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A row of the table of models; `count` models alike share one."""

    name: str
    parameters: int
    count: int = 1
    flops: float | None = None
    """To train one."""
    seconds: float | None = None


VALIDATING = ("validate", "verdict")
"""Stages that are the price of validating a selection."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A piece of the work and what it cost."""

    name: str
    seconds: float
    flops: float | None = None
    cached: bool = False
    """Whether it was there already; the cost is then that of when it was made."""
    selects: bool = True
    """Whether it is part of the price of selecting."""

    @property
    def part(self) -> str:
        """What it is part of; without what stands beside, there would be the same selection and the same validation."""
        return "selecting" if self.selects else "validating" if self.name in VALIDATING else "beside"


@dataclass(frozen=True, kw_only=True)
class NoisyLabels:
    """How well the scores find wrong labels: the chance that a wrong label scores below a right one."""

    auc: float
    low: float
    high: float
    num_noisy: int
    num_examples: int
    seeds: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What a target shares with the pool's source."""

    target: str
    num_examples: int
    num_examples_hit: int
    """Examples of the target that share `num_words` words in a row with a document."""
    num_documents_hit: int
    num_words: int
    left_out: bool
    """Whether those documents were left out of the pool, so that nothing was trained on them."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What it takes to do it again."""

    command: str
    study: str = ""
    """The text of study.toml."""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Held:
    """How a proxy's decisions between the arms compare with the reference's, on one test set."""

    test_set: str
    r2: float
    spearman: float
    accuracy: float
    """The share of pairs of arms in the same order, as `Trust.measure` counts them, with its 95 % interval."""
    low: float
    high: float
    regret: Interval | None = None
    """What taking the proxy's best arm costs at the reference, in loss, with its 95 % interval; None: not measured."""
    pairs_apart: int | None = None
    """Pairs of arms that the reference tells apart; None where its noise is not known, and of several test sets."""


@dataclass(frozen=True, kw_only=True)
class SizeLoss:
    """The loss of one model of one size."""

    size: str
    recipe: str
    test_set: str
    loss: float


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Whether the proxy's size would have decided as the reference did."""

    size: str
    reference: str
    num_arms: int
    num_seeds: int
    sentence: str
    rows: Sequence[Held]
    can_tell: bool = True
    """Whether the arms are enough for a verdict."""
    measure: str = "decision_accuracy"
    """Which pairs count: all (decision_accuracy), by how far apart they lie, or those that are told apart."""
    losses: Sequence[SizeLoss] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A study's report. Whatever is absent leaves no trace on the page."""

    title: str
    settings: Mapping[str, str] = field(default_factory=dict)
    choice: Choice | None = None
    results: Results | None = None
    models: Sequence[Model] = ()
    stages: Sequence[Stage] = ()
    noisy_labels: NoisyLabels | None = None
    trust: Trust | None = None
    reproduction: Reproduction | None = None
    leaks: Sequence[Leak] | None = None
    """Of every target; None where leakage was not looked for (images)."""
    clean: MeanInterval | None = None
    """The difference of loss to the baseline on examples known to be clean, where leaked documents are in the pool."""
    clean_is_whole: bool = True
    """Whether all examples that leaked are known, and so left out of `clean`."""
    little_learned: str | None = None
    """A sentence, where the reference has learned no more than a table of pairs of tokens."""
    notes: Sequence[str] = ()
    """Warnings of the run that a reader should know of, a sentence each."""
    explorer: bool = False
    """Whether `explorer.html`, which shows the examples, lies beside the page."""
