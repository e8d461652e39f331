"""What traker keeps on disk, in its own files: `metadata.json`, `id_M.json`, `M/*.mmap`, `scores/NAME.mmap` (all .npy).

Read and written by traker too. Beyond traker's MmapSaver: JSON is replaced whole and under a lock, so that processes
may share a folder; an array is never opened as another shape or type than it has, nor scores made anew over old ones;
and a checkpoint leaves a fingerprint, so that features and targets of two different ones are never multiplied.
"""

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from trak.savers import MmapSaver

from thresher.artifacts import atomic_file
from thresher.errors import InputError

# Numbers of each tensor that its fingerprint looks at.
SAMPLED = 4096


class Store(MmapSaver):
    """traker's saver of memory-mapped arrays."""

    def __init__(self, save_dir: Path, *args: Any, **kwargs: Any) -> None:
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        self._lock = Path(save_dir) / ".lock"
        try:
            with self._alone():
                super().__init__(save_dir, *args, **kwargs)
        except AssertionError as error:  # another projection or train set
            text = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"{text}; pass another save_dir, or what is there") from None

    current_store: dict[str, Any]

    def register_model_id(self, model_id: int, _allow_featurizing_already_registered: bool) -> None:
        """Begin or continue the work under this id, any kind of integer."""
        super().register_model_id(int(model_id), _allow_featurizing_already_registered)

    def serialize_current_model_id_metadata(self, already_exists: bool = True) -> None:
        """Write to disk whether the current checkpoint is featurised, if that has changed."""
        status = self.model_ids[self.current_model_id]
        done = int(self.current_store["is_featurized"].sum() == self.train_set_size)
        if done != status["is_featurized"] or done or not already_exists:
            status["is_featurized"] = done
            _replace(self.save_dir / f"id_{self.current_model_id}.json", {self.current_model_id: status})

    def init_experiment(self, exp_name: str, num_targets: int, model_id: int) -> None:
        """Make room for the targets and scores of an experiment. Raises InputError where there are no features."""
        prefix = self.save_dir / str(model_id)
        if not prefix.is_dir():
            raise InputError(
                f"model_id {model_id} has no features in {self.save_dir}; load_checkpoint and featurize come first"
            )
        self.experiments[exp_name] = {
            "num_targets": num_targets,
            "scores_path": str(self.save_dir / f"scores/{exp_name}.mmap"),
            "scores_finalized": 0,
        }
        self._share(exp_name)
        self.load_current_store(model_id, exp_name, num_targets, mode="a")

    def load_current_store(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, model_id: int, exp_name: str | None = None, exp_num_targets: int = -1, mode: str = "r+"
    ) -> None:
        """Open the arrays of a checkpoint and, where `exp_name` is given, those of the experiment."""
        super().load_current_store(model_id, exp_name, exp_num_targets, mode)
        scores = f"{exp_name}_scores"
        if exp_name is not None and self.current_store[scores] is None:
            path, shape = self.save_dir / f"scores/{exp_name}.mmap", (self.train_set_size, exp_num_targets)
            self.current_store[scores] = self._load(path, shape, "a")

    def save_scores(self, exp_name: str) -> None:
        """Write the scores of an experiment to disk and note that they are final."""
        self.current_store[f"{exp_name}_scores"].flush()
        self.experiments[exp_name]["scores_finalized"] = 1
        self._share(exp_name)

    def agree(self, model_id: int, facts: Mapping[str, str], *, record: bool) -> None:
        """Refuse work under `model_id` with another checkpoint, projection or output than it was begun with."""
        path = self.save_dir / str(model_id) / "checkpoint.json"
        if not path.exists():  # begun by traker, or just now
            if record:
                _replace(path, dict(facts))
            return
        for name, value in json.loads(path.read_text()).items():
            if facts.get(name) != value:
                raise InputError(
                    f"model_id {model_id} was featurised with {name} {value}, not {facts.get(name)}; "
                    "pass the same, or a model_id of its own"
                )

    def _load(self, fname: Path, shape: tuple[int, ...], mode: str, dtype: Any = None) -> np.memmap | None:
        """In mode `a`, what is there, or a new array."""
        there = Path(fname).exists()
        array = super()._load(fname, shape, ("r+" if there else "w+") if mode == "a" else mode, dtype)
        expected = np.dtype(dtype or (np.float16 if self.use_half_precision else np.float32))
        if array is not None and (array.shape != shape or array.dtype != expected):
            raise InputError(
                f"{fname} holds {array.dtype} {list(array.shape)}, not {expected} {list(shape)}; "
                "pass another exp_name or save_dir, or the sizes and precision it was made with"
            )
        return array

    def _share(self, exp_name: str) -> None:
        """Put one experiment into `experiments.json`, beside those of other processes."""
        with self._alone():
            known = json.loads(self.experiments_file.read_text()) if self.experiments_file.exists() else {}
            _replace(self.experiments_file, {**known, exp_name: self.experiments[exp_name]})

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self._lock, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """A hash of a checkpoint: names, shapes and evenly spaced numbers of all its tensors; the same on every device."""
    digest = hashlib.sha256()
    for name, value in sorted((n, v) for n, v in state.items() if isinstance(v, Tensor)):
        flat = value.detach().flatten()
        some = flat[:: max(1, len(flat) // SAMPLED)].to("cpu", torch.float64)
        digest.update(f"{name} {tuple(value.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()[:16]


def _replace(path: Path, content: dict) -> None:
    """A reader finds the old file or the new one."""
    with atomic_file(path) as file:
        file.write_text(json.dumps(content))
