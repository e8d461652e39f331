"""Data sets as training frameworks keep them, as rows: MDS folders (MosaicML), and `.idx` with `.bin` (Megatron)."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Integer
from tokenizers import Tokenizer

from thresher.data.mds import INDEX, mds_files, read_mds
from thresher.data.megatron import TOKENIZER, bin_of, read_documents_of, tokenizer_of
from thresher.data.sources.named_splits import ALL, check_split
from thresher.data.sources.rows import Row
from thresher.data.sources.skipped import BadRows
from thresher.data.sources.values import no_column, take
from thresher.errors import InputError


def mds_indexes(root: Path, split: str | None) -> list[Path]:
    """The `index.json` of an MDS folder, or of its folders of splits (`train/index.json`); none: it is no such folder.

    Raises InputError for a split that is not there.
    """
    if _is_mds(root / INDEX):
        if split != ALL:
            check_split(split, ["train"], str(root))
        return [root / INDEX]
    there = {index.parent.name: index for index in sorted(root.glob(f"*/{INDEX}")) if _is_mds(index)}
    if not there:
        return []
    wanted = list(there) if split == ALL else [check_split(split, list(there), str(root))]
    return [there[name] for name in wanted]


def _is_mds(index: Path) -> bool:
    try:
        return index.is_file() and any(
            shard.get("format") == "mds" for shard in json.loads(index.read_text())["shards"]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def beside(reader: str, files: Sequence[Path]) -> list[Path]:
    """The files that are read with these: shards of an MDS index, tokens and tokenizer of a Megatron one."""
    if reader == "mds":
        return [shard for index in files for shard in mds_files(index)]
    if reader == "megatron":
        known = [tokenizer_of(index) for index in files]
        return [*map(bin_of, files), *dict.fromkeys(file for file in known if file is not None)]
    return []


def read_mds_rows(
    files: Sequence[Path], columns: Sequence[str], bad: BadRows, whole_rows: bool = False
) -> Iterator[Row]:
    """A row a sample, with its own columns."""
    for index in files:
        for file, number, values in read_mds(index, columns):
            missing = take(values, columns)
            if missing is not None:
                raise InputError(f"{file} {no_column(missing, values)}")
            yield Row(str(file), number, values)


def read_megatron_rows(
    files: Sequence[Path], columns: Sequence[str], bad: BadRows, whole_rows: bool = False
) -> Iterator[Row]:
    """A row a document: its `text`, what its tokens stand for, without the special ones.

    Raises InputError where no tokenizer lies beside the index, and under `bad` for tokens that are no whole text.
    """
    for index in files:
        file = tokenizer_of(index)
        if file is None:
            raise InputError(f"{index} holds tokens; lay the {TOKENIZER} that made them beside it")
        tokenizer = Tokenizer.from_file(str(file))
        known = _known_tokens(tokenizer)
        for column in columns:
            if column != "text":
                raise InputError(f"{index} {no_column(column, ['text'])}")
        for number, tokens in enumerate(read_documents_of(index), start=1):
            values: dict | None = None
            unknown = _first_unknown(tokens, known)
            if unknown is not None:
                message = f"{index} row {number} has the token {unknown}, which {file.name} does not have"
                bad("unknown token", f"{message}; give the tokenizer that made them", file=str(index), row=number)
            else:
                text = tokenizer.decode(tokens.tolist(), skip_special_tokens=True)
                if "\ufffd" in text and _breaks(tokenizer, tokens.tolist(), text):
                    message = f"{index} row {number} has tokens that are no whole characters; leave it out"
                    bad("not UTF-8", message, file=str(index), row=number)
                else:
                    values = {"text": text}
            yield Row(str(index), number, values)


def _known_tokens(tokenizer: Tokenizer) -> Bool[np.ndarray, "v"]:
    """Whether each id below the largest is a token, added ones too: a vocabulary may have holes."""
    ids = list(tokenizer.get_vocab().values())
    known = np.zeros(max(ids, default=-1) + 1, dtype=bool)
    known[ids] = True
    return known


def _first_unknown(tokens: Integer[np.ndarray, "t"], known: Bool[np.ndarray, "v"]) -> int | None:
    inside = (tokens >= 0) & (tokens < len(known))
    inside[inside] = known[tokens[inside]]
    return None if inside.all() else int(tokens[~inside][0])


def _breaks(tokenizer: Tokenizer, tokens: Sequence[int], text: str) -> bool:
    """Whether the signs for broken characters in `text` do not stand in the document itself."""
    special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    own = [token for token in tokens if token not in special]
    return tokenizer.encode(text, add_special_tokens=False).ids != own
