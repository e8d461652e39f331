"""Which options stand together on a help page, and what those say that are the same everywhere."""

from collections.abc import Iterable

from thresher.cli.arguments import Option, dashed

SPOKEN = "what is said"
OTHER = "other"
"""Where options stand that no group names."""
GROUPS = {
    "data": "task data examples pool target targets test-sets off-targets held-out features target-features index"
    " train test arms scores embeddings mixtures split subset text prompt continuation choices gold classify question"
    " label image size classes domain id group bad-rows part limit decontaminate ngram tokenizer vocab-size"
    " sequence-length windows selection weights mixture columns weight-columns loss-columns step-column size-column"
    " at-step at-size tokens test-fraction recipe test-set loss losses step seed-column costs recipes",
    "model and training": "model models weights proxy reference proxies ladder own sizes multiples reference-multiples"
    " rates reference-rates standard fraction subsets repeats seeds checkpoints checkpoint-fraction runs first batch"
    " random-budgets max-flops eta smoothing epochs tokens-per-parameter batch-size learning-rate optimizer schedule"
    " momentum weight-decay eps-root keep-optimizer parametrization precision accumulate activation-checkpointing"
    " compile shuffle-sequences",
    "scoring": "scorer scorers method self-influence backend output goal q damping curvature-damping convention k"
    " projection parameters views top per-token sample memory-gb steps window rank baseline criterion threshold"
    " sets average resamples",
    "mixture": "design method target-weights worst-case budget max-repeats floors ceilings prior kl-weight max-kl low"
    " high next ddo-order ddo-factors fitted-budget second second-budget mode floor-amount resamples",
    "what is kept": "fraction count tokens export format rows-per-shard push-to",
    "the page": "page lds page-mb serve port",
    "where and how it runs": "out evidence workers executor batch-tokens device seed",
    SPOKEN: "json quiet verbose log log-to",
}
"""Which options stand together, in this order. A name in two groups goes to the first, unless `PLACED` says where."""
PLACED = {
    "select": {"fraction": "what is kept", "tokens": "what is kept", "compare": "what is kept"},
    "attribute": {"weights": "model and training", "batch-size": "where and how it runs", "k": "scoring"},
    "mix runs": {"method": "mixture", "resamples": "mixture", "tokens": "model and training"},
    "mix table": {"method": "mixture", "resamples": "mixture"},
    "mix scores": {"resamples": "mixture"},
    "study from-table": {"size": "data", "reference": "data", "proxies": "data"},
}
SAID = {
    "device": "auto (a GPU where there is one), cpu, cuda, cuda:1, mps.",
    "seed": "All that is random is drawn from it.",
    "out": "Where the result goes.",
    "epochs": "Passes over the data.",
    "batch_size": "Examples in a step.",
    "learning_rate": "The highest rate; left out: the usual one for the model.",
    "optimizer": "adamw or sgd; left out: adamw for language, sgd for vision.",
    "momentum": "Of sgd.",
    "weight_decay": "Of the optimiser.",
    "resamples": "Bootstrap samples for intervals.",
    "split": "The split of a data set on the hub.",
    "subset": "The configuration of a data set on the hub.",
    "text": "The column of texts.",
    "label": "The column of classes.",
    "image": "The column of images.",
    "domain": "The column of domains.",
    "k": "Numbers a gradient is projected to.",
    "projection": "How gradients are projected; auto: as for `thresher featurize`.",
    "damping": "A multiple of the kernel's mean diagonal; left out: the usual one.",
    "subsets": "Random subsets that models are retrained on.",
    "threshold": "What the low end of the interval has to reach.",
    "bad_rows": "refuse, skip or replace rows that cannot be used.",
    "vocab_size": "Of the tokenizer that is trained.",
    "sequence_length": "Tokens that the model reads at once.",
    "continuation": "The column that is predicted, after --prompt.",
    "id": "The column of unique ids.",
    "seed_column": "The column of seeds.",
    "at_step": "Read every loss at this step.",
    "at_size": "Read every loss at this size.",
    "recipe": "The column of recipes.",
    "test_set": "The column of test sets.",
    "loss": "The column of losses.",
    "test": "The same of the test examples.",
    "ngram": "Words in a row that count as an overlap.",
}
"""What options say that need no words of their own where they stand."""


def groups_of(name: str, options: Iterable[Option]) -> dict[str, list[Option]]:
    """Options that need not be given, by the group they stand in on the page of the command `name`."""
    groups: dict[str, list[Option]] = {title: [] for title in [*GROUPS, OTHER]}
    for option in options:
        usual = next((title for title, names in GROUPS.items() if _flag(option) in names.split()), OTHER)
        groups[PLACED.get(name, {}).get(_flag(option), usual)].append(option)
    for title, names in GROUPS.items():
        order = names.split()
        groups[title].sort(key=lambda option: order.index(_flag(option)) if _flag(option) in order else len(order))
    return {title: members for title, members in groups.items() if members}


def _flag(option: Option) -> str:
    return dashed(option.name)
