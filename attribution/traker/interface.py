"""The class that a traker script uses, with the methods, files and numbers of traker 0.3.2.

    from thresher.attribution.traker import TRAKer  # the one line that changes

Gradients come from hooks in one pass over a batch (`gradients`), projections from blocks drawn once (`projection`),
kernel and scores from blocks of what lies on disk (`kernel`, `store`). Scores agree with traker's to 1e-4 of the
largest where traker's own arithmetic allows it: float32, a kernel far from singular. What differs, on purpose:

- half precision (traker's default) is for storage alone; traker also multiplies and inverts in it
- a run that was cut off continues: examples already featurised are left out of a batch (traker raises on a part of one)
- model ids are checked: features and targets of different checkpoints are refused (traker multiplies them)
- a singular kernel gets the least shift that makes it invertible, and a warning (traker returns noise)
- features or targets that are not finite are refused, targets never scored are warned about
- targets may be scored before features are finalised, with any `proj_dim` (traker loses its matrix up to 100)
- devices: `cpu`, `cuda`, `cuda:1`, `auto`; batches are moved to where the model is
- no progress bars; `finalize_scores` returns the memory-mapped array it has filled, and never holds n x t numbers
"""

import hashlib
import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import trak
from torch import Tensor, nn
from trak.gradient_computers import FunctionalGradientComputer
from trak.projectors import ProjectionType
from trak.savers import ModelIDException
from trak.score_computers import BasicScoreComputer

from thresher.attribution.traker.gradients import computer_of
from thresher.attribution.traker.kernel import ScoreComputer
from thresher.attribution.traker.projection import Blocks, Sketch, adopted
from thresher.attribution.traker.scoring import array_of, parts_of, places_of, write_scores
from thresher.attribution.traker.store import Store, fingerprint
from thresher.attribution.traker.tasks import is_per_example, known_by, task_of
from thresher.devices import full_float32, pick_device
from thresher.errors import InputError


class TRAKer(trak.TRAKer):
    """traker's `TRAKer`; all its arguments and methods, and subclasses of its parts, work as they do there."""

    def __init__(
        self,
        model: nn.Module,
        task: Any,
        train_set_size: int,
        save_dir: Any = "./trak_results",
        load_from_save_dir: bool = True,
        device: str | torch.device = "cuda",
        gradient_computer: Any = FunctionalGradientComputer,
        projector: Any = None,
        saver: Any = None,
        score_computer: Any = None,
        proj_dim: int = 2048,
        logging_level: int = logging.INFO,
        use_half_precision: bool = True,
        proj_max_batch_size: int = 32,
        projector_seed: int = 0,
        grad_wrt: Iterable[str] | None = None,
        lambda_reg: float = 0.0,
    ) -> None:
        """As in traker. Its own gradient, score computers, projectors and saver are answered by faster counterparts
        with the same results; any other class or object given is used as it is.

        task        a name, an object, or a class, of a model output; see `tasks`
        projector   an object, None for traker's default, or `sjlt` or `mask+sjlt`: faster, with other random numbers
        proj_dim    ignored where a projector is given as an object
        grad_wrt    names of parameters, as in the state dict; None: all
        Raises InputError on an unknown task, device, parameter, and on a save_dir of another projection or train set.
        """
        if (projector is None or isinstance(projector, str)) and proj_dim < 1:
            raise InputError(f"proj_dim={proj_dim} is out of range; pass 1 or more")
        task = task_of(task)
        known = known_by(task)  # before a run changes it
        super().__init__(
            model=model,
            task=task,
            train_set_size=train_set_size,
            save_dir=save_dir,
            load_from_save_dir=load_from_save_dir,
            device=str(pick_device(str(device))),
            gradient_computer=computer_of(gradient_computer, is_per_example(task)),  # pyright: ignore
            projector=projector,  # pyright: ignore[reportArgumentType]
            saver=saver or Store,  # pyright: ignore[reportArgumentType]
            score_computer=_score_computer(score_computer),
            proj_dim=proj_dim,
            logging_level=logging_level,
            use_half_precision=use_half_precision,
            proj_max_batch_size=proj_max_batch_size,
            projector_seed=projector_seed,
            grad_wrt=_canonical(model, grad_wrt),
            lambda_reg=lambda_reg,
        )
        self._last_ind_target, self._known_by = 0, known
        self._num_targets: int | None = None

    def init_projector(self, projector: Any, proj_dim: int, proj_max_batch_size: int) -> None:
        """Set the projector up: ours by name, ours in place of traker's plain ones, any other as it is."""
        size = self.num_params_for_grad
        if isinstance(projector, str):
            projector = Sketch(projector, size, proj_dim, self.proj_seed, self.device)
        elif projector is None and self.device == "cpu":
            projector = Blocks(size, proj_dim, self.proj_seed, ProjectionType.normal, self.device, self.dtype)
        super().init_projector(projector, proj_dim, proj_max_batch_size)
        self.projector = adopted(self.projector)

    def load_checkpoint(
        self, checkpoint: Any, model_id: int, _allow_featurizing_already_registered: bool = False
    ) -> None:
        """Load a state dict; what was featurised of it before, in this process or another, counts as done."""
        super().load_checkpoint(checkpoint, int(model_id), _allow_featurizing_already_registered)
        self.ckpt_loaded, self._num_targets = "no ckpt loaded", None
        self._agree(int(model_id), record=True)
        self.ckpt_loaded = int(model_id)

    @full_float32()
    def featurize(self, batch: Iterable[Tensor], inds: Any = None, num_samples: int | None = None) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Write features and Q of those examples of a batch that have none yet; 0 if all had."""
        if self.ckpt_loaded != self.saver.current_model_id:
            raise InputError("no checkpoint is loaded to featurise with; call load_checkpoint first")
        places, end = places_of(inds, num_samples, self._last_ind, self.train_set_size, "train_set_size")
        store = self.saver.current_store
        missing = np.asarray(store["is_featurized"])[places].reshape(-1) != 1
        if not missing.any():
            # A run may have been cut off between the last batch and the note that it was.
            self.saver.serialize_current_model_id_metadata()
            self._last_ind = end
            return 0
        features = self._project(batch, len(places))
        doubt = self.gradient_computer.compute_loss_grad(batch)  # pyright: ignore[reportCallIssue]
        doubt = array_of(doubt.reshape(-1, 1), self.dtype)
        store["grads"][places[missing]] = features[missing]
        store["out_to_loss"][places[missing]] = np.broadcast_to(doubt, (len(places), 1))[missing]
        store["is_featurized"][places[missing]] = 1
        self.saver.serialize_current_model_id_metadata()
        self._last_ind = end
        return None

    @full_float32()
    def finalize_features(self, model_ids: Iterable[int] | None = None, del_grads: bool = False) -> None:
        """Phi (Phi^T Phi + lambda I)^{-1} / mean |..| of each checkpoint, all of it featurised; from disk to disk."""
        self.projector.free_memory()
        self._last_ind = 0
        for model_id in list(self.saver.model_ids if model_ids is None else model_ids):
            status = self.saver.model_ids.get(model_id)
            if status is None:
                raise ModelIDException(f"Model ID {model_id} not registered, not ready for finalizing.")
            if not status["is_featurized"]:
                raise ModelIDException(f"Model ID {model_id} not fully featurized, not ready for finalizing.")
            if status["is_finalized"]:
                self.logger.warning(f"Model ID {model_id} is finalized already, skipping it.")
                continue
            self.saver.load_current_store(model_id)
            store, computer = self.saver.current_store, self.score_computer
            if isinstance(computer, ScoreComputer):
                gradients = torch.from_numpy(store["grads"])
                computer.write_features(gradients, computer.get_xtx(gradients), store["features"])
            else:
                gradients = torch.as_tensor(store["grads"], device=self.device)
                features = computer.get_x_xtx_inv(gradients, computer.get_xtx(gradients))
                store["features"][:] = array_of(features, self.dtype)
            if del_grads:
                self.saver.del_grads(model_id)  # pyright: ignore[reportCallIssue]
            status["is_finalized"] = 1
            self.saver.serialize_current_model_id_metadata()

    def start_scoring_checkpoint(self, exp_name: str, checkpoint: Any, model_id: int, num_targets: int) -> None:
        """Load a state dict, that of `load_checkpoint` under this id, and make room for the gradients of targets."""
        super().start_scoring_checkpoint(exp_name, checkpoint, int(model_id), num_targets)
        self.ckpt_loaded, self._num_targets = "no ckpt loaded", None
        self._agree(int(model_id), record=False)
        self._num_targets = num_targets

    @full_float32()
    def score(self, batch: Iterable[Tensor], inds: Any = None, num_samples: int | None = None) -> None:
        """Write the features of a batch of targets."""
        if self._num_targets is None:
            raise InputError("no checkpoint is loaded to score with; call start_scoring_checkpoint first")
        places, end = places_of(inds, num_samples, self._last_ind_target, self._num_targets, "num_targets")
        name = f"{self.saver.current_experiment_name}_grads"
        self.saver.current_store[name][places] = self._project(batch, len(places))
        self._last_ind_target = end

    @full_float32()
    def finalize_scores(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, exp_name: str, model_ids: Iterable[int] | None = None, allow_skip: bool = False
    ) -> np.ndarray:
        """Scores [train_set_size, num_targets], mean over checkpoints times mean Q, at save_dir/scores/NAME.mmap."""
        self._last_ind_target = 0
        if exp_name not in self.saver.experiments:
            known = ", ".join(self.saver.experiments) or "none"
            raise InputError(f"experiment {exp_name!r} does not exist ({known}); call start_scoring_checkpoint first")
        parts = list(parts_of(self.saver, self.logger, exp_name, model_ids, allow_skip=allow_skip))
        if not parts:
            raise InputError(f"no checkpoint is ready for experiment {exp_name!r}; finalize_features and score them")
        scores = self.saver.current_store[f"{exp_name}_scores"]
        write_scores(scores, parts, self.score_computer, self.device)
        self.saver.save_scores(exp_name)
        self.scores = scores
        return scores

    def _project(self, batch: Iterable[Tensor], num_examples: int) -> np.ndarray:
        """Projected gradients / sqrt(P) of a batch, [b, k]."""
        gradients = self.gradient_computer.compute_per_sample_grad(batch=batch)
        projected = self.projector.project(gradients, model_id=self.saver.current_model_id)  # pyright: ignore
        if len(projected) != num_examples:
            raise InputError(
                f"the batch holds {len(projected)} examples, but {num_examples} were announced; "
                "pass num_samples or inds of the batch's own length"
            )
        features = array_of(projected / self.normalize_factor.to(projected.device), self.dtype)
        if not np.isfinite(features).all():
            raise InputError(
                f"features of model_id {self.saver.current_model_id} are not finite in {self.dtype}; "
                "pass use_half_precision=False, or look at the model's outputs"
            )
        return features

    def _agree(self, model_id: int, *, record: bool) -> None:
        if isinstance(self.saver, Store):
            projector, kind = self.projector, getattr(self.projector, "proj_type", None)
            chosen = "".join(self.grad_wrt or dict(self.model.named_parameters()))
            facts = {
                "task": self._known_by,
                "weights": fingerprint(self.model.state_dict()),
                "projection": f"{getattr(kind, 'value', kind)} of seed {getattr(projector, 'seed', None)}",
                "parameters": f"{self.num_params_for_grad} ({hashlib.sha256(chosen.encode()).hexdigest()[:8]})",
            }
            self.saver.agree(model_id, facts, record=record)


def _score_computer(given: Any) -> Any:
    return ScoreComputer if given in (None, BasicScoreComputer) else given


def _canonical(model: nn.Module, names: Iterable[str] | None) -> list[str] | None:
    """The names by which `named_parameters` knows these parameters: tied weights have several."""
    if names is None:
        return None
    given = list(names)
    every = dict(model.named_parameters(remove_duplicate=False))
    unknown = [name for name in given if name not in every]
    if unknown or not given:
        raise InputError(f"grad_wrt={unknown or given} names no parameter; names look like: {', '.join([*every][:3])}")
    chosen = {id(every[name]) for name in given}
    return [name for name, parameter in model.named_parameters() if id(parameter) in chosen]
