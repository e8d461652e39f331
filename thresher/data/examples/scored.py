"""Which part of a document is scored: what its tokens are predicted in, found again in the text as it was written."""

from typing import NamedTuple

from thresher.data.examples.base import Positions
from thresher.data.examples.labelled_text import LabelledTextExamples
from thresher.data.examples.tokens import TokenExamples
from thresher.data.text.documents import as_one_text


class ScoredText(NamedTuple):
    """A whole document in three parts; nothing of it is lost, white space included."""

    before: str
    """What is given, or was not read."""
    scored: str
    """What a score is about."""
    after: str = ""
    """What did not fit into a sequence, or follows from what is scored."""


def scored_texts(examples: TokenExamples, indices: Positions) -> list[ScoredText]:
    """The documents at `indices` as the source has them, [m], each with the part that is scored.

    Of a text with a class the class is scored, so all of it that is read counts as scored. Where the
    tokenizer changes what it reads (case, spaces), so that the part cannot be found, everything after the prompt
    counts.
    """
    is_whole = examples.layout.packed or isinstance(examples, LabelledTextExamples)
    parts = []
    for index, row in zip(indices, examples.documents(indices), strict=True):
        text = as_one_text(row["prompt"], row["text"])
        if is_whole and not _is_cut(examples):
            parts.append(ScoredText("", text))
        else:
            parts.append(_found(examples, int(index), text, len(text) - len(row["text"])))
    return parts


def _is_cut(examples: TokenExamples) -> bool:
    facts = examples.artifact.facts
    return bool((facts.get("cut") or {}).get("num_rows") or facts.get("num_shortened"))


def _found(examples: TokenExamples, index: int, text: str, start: int) -> ScoredText:
    """`text` around the tokens that are predicted; `start` is where what follows the prompt begins."""
    _, first, end = (int(value) for value in examples.spans[index])
    if isinstance(examples, LabelledTextExamples):
        first, end = 0, len(examples.tokens[index])
    predicted = examples.tokenizer.decode(examples.tokens[index][first:end].tolist(), skip_special_tokens=True).strip()
    place = text.find(predicted, max(start - 1, 0)) if predicted else -1
    if place < 0:
        return ScoredText(text[:start], text[start:])
    return ScoredText(text[:place], text[place : place + len(predicted)], text[place + len(predicted) :])
