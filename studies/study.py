"""A study: everything that a run is made of, every setting with a default that works."""

from dataclasses import dataclass, field
from typing import Literal

from thresher.choices import Backend, BadRows, Output, Projection, Q, StudyTask, View
from thresher.proxies.settings import ModelSettings

BASELINE = "random"
"""The arm that every other one is compared with."""
OFF_TARGET = "off-target"
"""The task that is measured on the part of the pool's source that was held out."""


@dataclass(frozen=True, kw_only=True)
class PoolTable:
    """`[pool]`: the training candidates."""

    data: str | list[str]
    """Files, globs, a folder, or the name of a data set on the hub."""
    split: str | None = None
    """None: train, and of files that are named one by one all; `all`: every split."""
    subset: str | None = None
    text: str = "text"
    domain: str | None = None
    id: str | list[str] | None = None
    """A column of unique ids, or several that together are unique."""
    image: str = "image"
    label: str = "label"
    size: int | None = None
    """Images are resized to size x size."""
    share: float = 1.0
    """The share of the source that is used, drawn at random by document."""
    holdout: float = 0.02
    """The share of that kept out of the pool, to measure losses off the target."""
    bad_rows: BadRows = "refuse"
    """refuse, skip or replace: what is done with rows that cannot be used."""
    group: str | None = None
    """Rows with the same value here stay on one side of the split."""
    decontaminate: bool = False
    """Leave out documents that share `ngram` words in a row with a target; that they do is always reported."""
    ngram: int = 13


@dataclass(frozen=True, kw_only=True)
class TargetTable:
    """`[target.NAME]`: examples of a task one cares about."""

    data: str | list[str] = ""
    task: str | None = None
    """In place of `data`: a task of lm-evaluation-harness, as `lm_eval:arc_easy` or `lm_eval:FILE.yaml`."""
    split: str | None = None
    """None: train, and of files that are named one by one all; `all`: every split."""
    subset: str | None = None
    text: str = "text"
    prompt: str | None = None
    """A column that is given and not predicted; then `continuation` is predicted, or the right one of `choices`."""
    continuation: str | None = None
    choices: str | None = None
    """A column of lists of texts: multiple choice, of which `gold` is the right one."""
    gold: str | None = None
    """The column with the right choice's number, from 0, or its label."""
    classify: str | None = None
    """A column of classes: the text is given, its class is predicted."""
    classes: list[str] = field(default_factory=list)
    """VALUE or VALUE=WORD of each class, WORD is what is predicted; none: the values that occur."""
    question: str = "\nLabel:"
    """What stands between a text and its class."""
    group: str | None = None
    """Rows with the same value here stay on one side of the split."""
    id: str | list[str] | None = None
    """A column of unique ids, or several that together are unique."""
    image: str = "image"
    label: str = "label"
    weight: float = 1.0
    limit: int | None = None
    bad_rows: BadRows = "refuse"
    holdout: float = 0.5
    """The share of the target's examples that selection never sees and validation uses."""


@dataclass(frozen=True, kw_only=True)
class ProxyTable(ModelSettings):
    """`[proxy]`: the models that data are judged by."""

    size: str = "0.4M"
    count: int = 2
    """How many proxies, each on its own random part of the pool."""
    fraction: float = 0.5
    """How large that part is."""


@dataclass(frozen=True, kw_only=True)
class ReferenceTable(ModelSettings):
    """`[reference]`: the larger model that the benefit is proven on."""

    size: str = "1.6M"
    seeds: int = 3
    """Paired: each arm is trained from the same so many initialisations."""


@dataclass(frozen=True, kw_only=True)
class AttributionTable:
    """`[attribution]`: how proxies are turned into scores."""

    k: int | None = None
    projection: Literal["auto"] | Projection = "auto"
    output: Output = "margin"
    views: list[View] = field(default_factory=list)
    """Of images: "flip", "shift"; features are averaged over them."""
    damping: float | Literal["loo"] | None = None
    """A multiple of the kernel's mean diagonal, or "loo": chosen on the pool by leave-one-out prediction. None: 1, but
    at least 3 mean squared lengths of a feature, which is what the exact kernel has. Of trak, dual, direction and
    trackstar. Of backend traker: its lambda itself, None: 0; to another scorer that a method names it is a multiple."""
    curvature_damping: float = 0.1
    """Of the ekfac scorers: a multiple of the mean eigenvalue of each group of parameters."""
    q: Q | None = None
    """What scores are multiplied by; None: sqrt, with backend traker mean (filled in)."""
    scorer: str = "trak"
    """A name of `thresher.scorers`: trak, ekfac, ekfac-cg, metagradient, adamw-influence, trackstar, ..."""
    backend: Backend = "thresher"

    def __post_init__(self) -> None:
        if self.q is None:
            object.__setattr__(self, "q", "mean" if self.backend == "traker" else "sqrt")


@dataclass(frozen=True, kw_only=True)
class SelectTable:
    """`[select]`: what is kept."""

    method: str = "dsdm"
    """A method, or several in a line: "minhash | dsdm:per_domain=0.3" (docs/selectors.md). The budget stands below."""
    fraction: float = 0.2
    tokens: int | None = None
    """A number of tokens, in place of the fraction."""
    embeddings: str | None = None
    """Of texts, in place of the proxies' own: `column:NAME` or `sentence-transformers:MODEL`."""


@dataclass(frozen=True, kw_only=True)
class ValidateTable:
    """`[validate]`: what the selection is compared with. Random data of the same size is always there."""

    controls: list[str] = field(default_factory=lambda: ["random", "bottom"])
    random_budgets: list[float] = field(default_factory=list)
    """Random data of so many times the size as well, such as [0.5, 2, 4]: gives the compute multiplier."""
    verdict: bool = True
    """Train every arm at the proxy's size too, and say whether its decisions would have been the reference's."""
    average: int = 1
    """That verdict takes the mean over so many of the last steps of each training, at both sizes."""
    workers: int | None = None
    """Reference runs at once; None: one a core, or one on a GPU."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A whole study, as `study.toml` holds it."""

    name: str = "study"
    task: StudyTask = "language"
    seed: int = 0
    sequence_length: int = 128
    vocab_size: int = 4096
    tokenizer: str | None = None
    """A tokenizer.json or a checkpoint that has one; None: trained on the pool with `vocab_size` entries."""
    pool: PoolTable
    target: dict[str, TargetTable]
    proxy: ProxyTable = field(default_factory=ProxyTable)
    reference: ReferenceTable = field(default_factory=ReferenceTable)
    attribution: AttributionTable = field(default_factory=AttributionTable)
    select: SelectTable = field(default_factory=SelectTable)
    validate: ValidateTable = field(default_factory=ValidateTable)


def num_arms_of(study: Study) -> int:
    """How many ways to choose are compared: the study's own, its controls, and random data."""
    return len({study.select.method, *study.validate.controls, BASELINE})


def asks_for_trust(study: Study) -> bool:
    """Whether the proxy is judged: decisions are those of three arms or more, and between two sizes."""
    return study.validate.verdict and num_arms_of(study) > 2 and study.proxy.size != study.reference.size
