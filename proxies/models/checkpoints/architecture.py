"""What a configuration of `transformers` says of its model: what it does and how large it is.

This is decided by the name of the architecture, before anything is loaded; `probe` asks the loaded model itself.
Everything of `transformers` is imported where it is used: its modules take longer to start than all else together.
"""

from dataclasses import dataclass
from typing import Any

from thresher.errors import InputError

LANGUAGE, VISION, CLASSIFIER = "language", "vision", "text-classification"
CLASSES_OF = {LANGUAGE: "CAUSAL_LM", VISION: "IMAGE_CLASSIFICATION", CLASSIFIER: "SEQUENCE_CLASSIFICATION"}
"""Task -> the part of the name of `transformers`' table of classes."""
WORDS = {
    "MASKED_LM": "a masked language model",
    "SEQ_TO_SEQ_CAUSAL_LM": "an encoder-decoder",
    "IMAGE_TEXT_TO_TEXT": "a model of images and text",
    "TOKEN_CLASSIFICATION": "a classifier of tokens",
    "QUESTION_ANSWERING": "a model that marks answers",
    "MULTIPLE_CHOICE": "a model of multiple choice",
    "NEXT_SENTENCE_PREDICTION": "a model of sentence pairs",
    "PRETRAINING": "a model with several heads",
    "ZERO_SHOT_IMAGE_CLASSIFICATION": "a model that matches images and texts",
    "SPEECH_SEQ_2_SEQ": "a model of speech",
    "OBJECT_DETECTION": "a detector of objects",
    "SEMANTIC_SEGMENTATION": "a model of segments",
    "MASKED_IMAGE_MODELING": "a masked model of images",
}
"""The part of a table's name -> what its architectures are."""
# Their position embeddings count from padding_idx + 1, so that many rows hold no position.
OFFSET_POSITIONS = frozenset(
    "roberta camembert xlm-roberta xlm-roberta-xl xmod data2vec-text roberta-prelayernorm ibert longformer luke mpnet "
    "esm layoutlm layoutlmv3".split()
)
LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "max_seq_length")
WIDTHS = ("hidden_size", "n_embd", "d_model", "dim", "n_embed", "model_dim")
# ALiBi and state space models read any length; what such a configuration names is what it was trained with.
UNBOUNDED = 2**31


@dataclass(frozen=True)
class Sizes:
    """The residual width, the vocabulary and the longest sequence of a model; None where a configuration is silent."""

    width: int | None
    vocab_size: int | None
    sequence_length: int


def task_of(name: str, config: Any) -> str:
    """The task of a checkpoint: `language`, `vision` or `text-classification`.

    Raises InputError for every other architecture, for language models that look ahead, and for quantised weights.
    """
    refuse_quantised(name, config)
    architecture = next(iter(getattr(config, "architectures", None) or []), None)
    if architecture is None:
        return _task_by_type(name, config)
    for task, table in CLASSES_OF.items():
        if architecture in architectures(table):
            if task == LANGUAGE:
                _refuse_looking_ahead(name, config, architecture)
            if task == CLASSIFIER:
                _refuse_regression(name, config, architecture)
            return task
    # The text part of a model of images and text, or a body whose output matrix is its embedding.
    loads = config.model_type in _table("CAUSAL_LM")
    if loads and architecture in architectures("IMAGE_TEXT_TO_TEXT") | architectures(""):
        _refuse_looking_ahead(name, config, architecture)
        return LANGUAGE
    raise InputError(f"{name} is {described(architecture)}; {_wanted()}")


def described(architecture: str) -> str:
    """An architecture with what it is, such as `BertForMaskedLM, a masked language model`."""
    what = next((words for table, words in WORDS.items() if architecture in architectures(table)), None)
    return f"{architecture}, {what}" if what else f"{architecture}, which has no head that can be used here"


def sizes_of(config: Any) -> Sizes:
    """Width, vocabulary and longest sequence, wherever the configuration has them: in its text part, under any name."""
    text = text_part(config)
    lengths = [getattr(text, key, None) for key in LENGTHS]
    longest = next((length for length in lengths if isinstance(length, int) and length > 0), UNBOUNDED)
    if text.model_type in OFFSET_POSITIONS and longest < UNBOUNDED:
        longest -= (getattr(text, "pad_token_id", None) or 0) + 1
    width = next((getattr(text, key) for key in WIDTHS if isinstance(getattr(text, key, None), int)), None)
    return Sizes(width, getattr(text, "vocab_size", None), longest)


def text_part(config: Any) -> Any:
    """The configuration of a model's text part: itself, unless it nests others."""
    try:
        return config.get_text_config(decoder=True)
    except (AttributeError, TypeError, ValueError):
        return getattr(config, "text_config", None) or config


def is_nested(config: Any) -> bool:
    """Whether the text part is one of several in the configuration, as of a model of images and text."""
    return text_part(config) is not config


def refuse_quantised(name: str, config: Any) -> None:
    """Raise InputError for a checkpoint whose configuration says that it is quantised."""
    quantised = getattr(config, "quantization_config", None)
    if quantised:
        is_plain = isinstance(quantised, dict)
        method = quantised.get("quant_method") if is_plain else getattr(quantised, "quant_method", None)
        method = getattr(method, "value", method) or "unnamed"
        raise InputError(
            f"{name} is quantised ({method}), so its weights have no gradients; give the checkpoint it was made from, "
            "in float32, bfloat16 or float16"
        )


def architectures(table: str) -> set[str]:
    """The names of the classes in one of `transformers`' tables ("" for models without a head)."""
    names: set[str] = set()
    for value in _table(table).values():
        names |= {value} if isinstance(value, str) else set(value)
    return names


def _table(name: str) -> dict[str, Any]:
    from transformers.models.auto import modeling_auto

    return getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES" if name else "MODEL_MAPPING_NAMES", {})


def _task_by_type(name: str, config: Any) -> str:
    tasks = [task for task, table in CLASSES_OF.items() if config.model_type in _table(table)]
    if LANGUAGE in tasks:
        _refuse_looking_ahead(name, config, config.model_type)
        return LANGUAGE
    if VISION in tasks:
        return VISION
    raise InputError(f"{name} is of type {config.model_type!r} and names no architecture; {_wanted()}")


def _refuse_looking_ahead(name: str, config: Any, architecture: str) -> None:
    """A class for causal language models, but a configuration that lets every token see all others."""
    text, kind = text_part(config), config.model_type
    reason = None
    if getattr(config, "is_encoder_decoder", False):
        reason = "an encoder-decoder"
    elif kind in _table("MASKED_LM") and kind != "xlm" and not getattr(config, "is_decoder", False):
        reason = "with is_decoder = false: every token sees those after it"
    elif kind == "xlm" and not getattr(config, "causal", False):
        reason = "with causal = false: every token sees those after it"
    elif kind == "xlnet" and getattr(config, "attn_type", "bi") == "bi":
        reason = "with attn_type = bi: every token sees those after it"
    elif getattr(text, "use_bidirectional_attention", None) in (True, "all"):
        reason = "with use_bidirectional_attention: every token sees those after it"
    if reason is not None:
        raise InputError(f"{name} is {architecture}, {reason}; {_wanted()}")


def _refuse_regression(name: str, config: Any, architecture: str) -> None:
    kind, count = getattr(config, "problem_type", None), getattr(config, "num_labels", 2)
    if count < 2 or kind not in (None, "single_label_classification"):
        what = f"{count} output (a reward or a regression)" if count < 2 else f"problem_type {kind}"
        raise InputError(f"{name} is {architecture} with {what}; give a classifier of one class of two or more")


def _wanted() -> str:
    return "give a causal language model (...ForCausalLM), or a classifier of images or of texts"
