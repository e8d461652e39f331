"""Which options stand together on a help page, and what those say that are the same everywhere."""

from collections.abc import Iterable

from thresher.cli.arguments import Option

SPOKEN = "what is said"
GROUPS = {
    "data": "data examples pool target targets test-sets off-targets features target-features index train test mixtures"
    " arms scores split subset text prompt continuation choices gold classify question domain id bad-rows group label"
    " image size classes part decontaminate ngram limit tokenizer vocab-size sequence-length selection weights mixture"
    " files columns weight-columns loss-columns step-column size-column at-step at-size tokens test-fraction loss"
    " losses step seed-column recipe test-set costs recipes windows",
    "model and training": "model models proxy proxies reference ladder own sizes rates reference-rates standard"
    " learning-rate epochs batch-size optimizer schedule momentum weight-decay precision eps-root accumulate"
    " activation-checkpointing compile keep-optimizer fraction seeds repeats runs first batch examples-per-run"
    " random-budgets max-flops checkpoints subsets eta smoothing",
    "scoring": "scorer scorers method self-influence backend damping curvature-damping q convention goal top per-token k"
    " projection views output parameters sample memory-gb steps window rank baseline criterion threshold resamples",
    "mixture": "target-weights worst-case budget max-repeats floors ceilings prior kl-weight max-kl design low high next"
    " ddo-order ddo-factors fitted-budget second second-budget mode floor-amount",
    "what is kept": "fraction count tokens weights export format rows-per-shard compare evidence",
    "where and how it runs": "workers executor batch-tokens device seed",
    SPOKEN: "json quiet verbose log",
}
"""Which options stand together; a name that is in two groups goes to the first that `PLACED` does not overrule."""
PLACED = {
    "select": {"fraction": "what is kept", "tokens": "what is kept", "weights": "data"},
    "prepare": {"size": "data"},
    "attribute": {"batch-size": "where and how it runs", "k": "scoring"},
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
    "learning_rate": "The highest rate; left out: from the model's width.",
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
}
"""What options say that need no words of their own where they stand."""


def groups_of(name: str, options: Iterable[Option]) -> dict[str, list[Option]]:
    """Options that need not be given, by the group they stand in on the page of the command `name`."""
    groups: dict[str, list[Option]] = {title: [] for title in [*GROUPS, "other"]}
    for option in options:
        flag = option.name.replace("_", "-")
        usual = next((title for title, names in GROUPS.items() if flag in names.split()), "other")
        groups[PLACED.get(name, {}).get(flag, usual)].append(option)
    return {title: members for title, members in groups.items() if members}
