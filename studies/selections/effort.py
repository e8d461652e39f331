"""What a selection will take on this machine, said before it begins: passes of the models it needs, and memory."""

import logging
from pathlib import Path

import numpy as np

from thresher.artifacts import is_artifact
from thresher.attribution.gradients.projection import usual
from thresher.data.batches import all_of
from thresher.memory import of_process
from thresher.scorers import Work
from thresher.selection.methods import needs_of
from thresher.shown import duration, size_of
from thresher.studies.scoring.basis import attribution_of
from thresher.studies.scoring.effort import pass_over
from thresher.studies.scoring.memory import memory_of
from thresher.studies.selections.sources import Sources

OF_GRADIENTS = ("scores", "features", "gradient_norms", "gradient_cosines")
OF_OUTPUTS = ("loss", "embeddings", "target_embeddings")
TEXTS = 64.0
"""Bytes for each token of text that methods count words of: the text, its words, and what is made of them."""
NUMBERS = 32.0
"""Bytes for each number of a feature, of features that are read as a whole."""
log = logging.getLogger(__name__)


def say_selection(sources: Sources, spec: str, out: Path) -> None:
    """Log, as information, one line about a selection; nothing where it is there already.

    A scorer of its own (`dsdm:scorer=...`) says for itself what it takes.
    """
    if is_artifact(out) or not log.isEnabledFor(logging.INFO):
        return
    needs, memory, seconds = needs_of(spec), of_process(), 0.0
    tokens = float(np.asarray(sources.lengths).sum())
    if any("texts" in need for need in needs):
        memory += TEXTS * tokens
    if "features" in needs and sources.features is not None:
        memory += NUMBERS * len(sources.ids) * sources.features.k
    made = [need for need in needs if need in (*OF_OUTPUTS, *OF_GRADIENTS) and not _is_given(sources, need)]
    if made and sources.models and sources.pool is not None:
        model = sources.loaders[0][1]()
        timed = pass_over(model, all_of(sources.pool), sources.workspace.device)
        share = 1.0 if any(need in OF_GRADIENTS for need in made) else 1 / 3
        seconds = timed.seconds * share * len(sources.loaders)
        settings = attribution_of(sources.table, sources.seed)
        k = usual(settings.projection, settings.k, is_classified=sources.pool.is_classified)[1]
        work = Work(num_examples=len(sources.pool), num_models=len(sources.loaders))
        memory += memory_of("trak" if share == 1 else "embedding", work, settings, model, timed.held, k=k)
    about = f"about {duration(seconds)} on this machine, " if seconds else ""
    log.info(
        "to come: %s of %s examples; %s%s of memory at most", spec, f"{len(sources.ids):,}", about, size_of(memory)
    )


def _is_given(sources: Sources, need: str) -> bool:
    """Whether no pass of the models is needed for it."""
    if need in OF_OUTPUTS:
        return "embeddings" in need and sources.embeddings is not None
    return sources.features is not None or (need == "scores" and sources.scores is not None)
