"""MDS, the shards that MosaicML's `streaming` reads: rows written to its format, and read from it.

A shard is the number of samples, where each begins (uint32, one more than there are), its own description as JSON, and
the samples: the sizes of columns that have no fixed one (uint32), then the values. `index.json` beside the shards
lists them. The format is read and written here because `mosaicml-streaming` 0.13 asks for older `numpy` and
`transformers` than Thresher; the tests read what is written with that package, and the other way round.
"""

import bz2
import gzip
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from thresher.canonical import json_text
from thresher.errors import InputError

INDEX = "index.json"
SIZE_LIMIT = 2**26
"""Bytes of a shard, about; `streaming`'s own default."""
Row = Mapping[str, Any]
SCALARS = "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
DECODERS: dict[str, Callable[[bytes], Any]] = {
    "str": bytes.decode,
    "bytes": bytes,
    "json": json.loads,
    "int": lambda raw: int(np.frombuffer(raw, np.int64)[0]),
    "str_int": lambda raw: int(raw.decode()),
    "str_float": lambda raw: float(raw.decode()),
    "str_decimal": lambda raw: Decimal(raw.decode()),
    **{name: lambda raw, name=name: np.frombuffer(raw, name)[0].item() for name in SCALARS},
}
"""What is read of each encoding. Pictures and arrays are no text, and pickled values are never unpacked."""
UNPACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.decompress, "bz2": bz2.decompress}


def mds_encodings(blocks: Iterable[Sequence[Row]]) -> dict[str, str]:
    """The encoding of each column: str, int or float64 where all values are of that kind, else json.

    No value is changed by it: what is missing, a truth value, a whole number beyond 64 bits or a list is JSON.
    """
    kinds: dict[str, set[str]] = {}
    num_rows, counts = 0, dict[str, int]()
    for rows in blocks:
        num_rows += len(rows)
        for row in rows:
            for name, value in row.items():
                kinds.setdefault(name, set()).add(_kind(value))
                counts[name] = counts.get(name, 0) + 1
    for name, count in counts.items():
        kinds[name] |= {"json"} if count < num_rows else set()
    return {name: of.pop() if len(of) == 1 else "json" for name, of in sorted(kinds.items())}


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "str"
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return "int"
    return "float64" if isinstance(value, float) else "json"


class MdsShards:
    """Collects rows into shards: `add` gives the bytes of one whenever it is full, `rest` those of the last."""

    def __init__(self, encodings: Mapping[str, str], rows_per_shard: int) -> None:
        self._encodings, self._limit = dict(encodings), rows_per_shard
        self._sizes = [8 if kind in ("int", "float64") else None for kind in self._encodings.values()]
        self._config: dict[str, Any] = {"column_names": list(self._encodings), "column_sizes": self._sizes}
        self._config |= {
            "column_encodings": list(self._encodings.values()),
            "compression": None,
            "format": "mds",
            "hashes": [],
            "version": 2,
        }
        self._config |= {"size_limit": SIZE_LIMIT}
        self._samples: list[bytes] = []
        self._shards: list[dict[str, Any]] = []
        self._size = 0

    def add(self, row: Row) -> tuple[str, bytes] | None:
        """The name and the bytes of a shard that this row made full; None where it did not."""
        values = [_encoded(kind, row.get(name)) for name, kind in self._encodings.items()]
        pairs = zip(values, self._sizes, strict=True)
        heads = np.array([len(value) for value, size in pairs if size is None], "<u4")
        self._samples.append(heads.tobytes() + b"".join(values))
        self._size += len(self._samples[-1])
        return self.rest() if self._size >= SIZE_LIMIT or len(self._samples) >= self._limit else None

    def rest(self) -> tuple[str, bytes] | None:
        """The name and the bytes of the shard that is begun; None where none is."""
        if not self._samples:
            return None
        config = json.dumps(self._config, sort_keys=True).encode()
        count = len(self._samples)
        offsets = np.cumsum([4 + 4 * (count + 1) + len(config), *map(len, self._samples)])
        if offsets[-1] >= 2**32:
            raise InputError(f"a row of {self._size >> 20} MiB does not fit into an MDS shard of 4 GiB; leave it out")
        data = struct.pack("<I", count) + offsets.astype("<u4").tobytes() + config + b"".join(self._samples)
        name = f"shard.{len(self._shards):05d}.mds"
        info = {"basename": name, "bytes": len(data), "hashes": {}}
        self._shards.append({**self._config, "raw_data": info, "samples": count, "zip_data": None})
        self._samples, self._size = [], 0
        return name, data

    def index(self) -> str:
        """The text of `index.json`, once all shards are written."""
        return json.dumps({"shards": self._shards, "version": 2}, sort_keys=True)


def _encoded(kind: str, value: Any) -> bytes:
    if kind == "str":
        return value.encode()
    if kind in ("int", "float64"):
        return np.array(value, "<i8" if kind == "int" else "<f8").tobytes()
    return json_text(value).encode()


def mds_files(index: Path) -> list[Path]:
    """The shards that an `index.json` lists, raw or compressed, beside it or in folders there.

    Raises InputError for an index of something else, and for shards that are missing or lie elsewhere.
    """
    try:
        shards = json.loads(index.read_text("utf-8"))["shards"]
        kinds = {(shard["format"], shard["version"]) for shard in shards}
        names = [[shard[key]["basename"] for key in ("raw_data", "zip_data") if shard[key]] for shard in shards]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{index} does not list the shards of an MDS data set; write it again") from None
    if kinds - {("mds", 2)}:
        raise InputError(f"{index} is of the format {sorted(kinds)[0]}; write the data set as MDS, version 2")
    files = [next((f for name in own if (f := index.parent / name).is_file()), index.parent / own[0]) for own in names]
    missing = next((file for file in files if not file.is_file() or not _is_within(file, index.parent)), None)
    if missing is not None or not files:
        raise InputError(f"{missing or index} is missing, or names no shard; copy the data set again")
    return files


def _is_within(file: Path, folder: Path) -> bool:
    """Whether a path stays in a folder, however it is written; a link may lead where it wants."""
    return Path(os.path.abspath(file)).is_relative_to(os.path.abspath(folder))


def read_mds(index: Path, columns: Sequence[str]) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """The shard, the number in it from 1 and the values of each sample; the values of all columns that can be read.

    Raises InputError for a column of `columns` in an encoding that is not read, and for a shard that is damaged.
    """
    shards = json.loads(index.read_text("utf-8"))["shards"]
    for shard, file in zip(shards, mds_files(index), strict=True):
        columns_of = list(zip(shard["column_names"], shard["column_encodings"], shard["column_sizes"], strict=True))
        for name, kind, _ in columns_of:
            if name in columns and kind not in DECODERS:
                raise InputError(f"{file}: column {name!r} is {kind}, which is not read here; name a column of texts")
        raw = _raw(file, shard, index)
        try:
            (count,) = struct.unpack_from("<I", raw)
            offsets = np.frombuffer(raw, "<u4", count + 1, 4)
            samples = [_sample(raw[a:b], columns_of) for a, b in pairwise(offsets)]
        except (struct.error, ValueError, IndexError) as error:
            raise InputError(f"{file} is damaged ({error}); copy it again") from None
        for number, values in enumerate(samples, start=1):
            yield file, number, values


def _raw(file: Path, shard: Mapping[str, Any], index: Path) -> bytes:
    """The bytes of a shard, unpacked."""
    data = file.read_bytes()
    if shard["raw_data"] and file == index.parent / shard["raw_data"]["basename"]:
        whole = len(data) == shard["raw_data"]["bytes"]
    else:
        kind = str(shard["compression"]).partition(":")[0]
        if kind not in {"zstd", *UNPACK}:
            raise InputError(f"{file} is compressed by {kind}, which is not read here; write it raw, gz, bz2 or zstd")
        try:
            size = shard["raw_data"]["bytes"]
            data = pa.decompress(data, size, "zstd", asbytes=True) if kind == "zstd" else UNPACK[kind](data)
        except (OSError, EOFError, ValueError) as error:
            raise InputError(f"{file} cannot be decompressed ({error}); copy it again") from None
        whole = len(data) == size
    if not whole:
        raise InputError(f"{file} has {len(data):,} bytes, which is not what {INDEX} says; copy it again")
    return data


def _sample(raw: bytes, columns: Sequence[tuple[str, str, int | None]]) -> dict[str, Any]:
    place, sizes = 0, []
    for _, _, size in columns:
        if size is None:
            (size,) = struct.unpack_from("<I", raw, place)
            place += 4
        sizes.append(size)
    values = {}
    for (name, kind, _), size in zip(columns, sizes, strict=True):
        if place + size > len(raw):
            raise ValueError("a sample ends too early")
        if kind in DECODERS:
            values[name] = DECODERS[kind](raw[place : place + size])
        place += size
    return values
