"""What a model makes of test sets at the last steps of its training: a mean that a single step's luck moves less.

The steps are spread evenly over the last tenth of the training. A look costs one evaluation and keeps numbers, where a
checkpoint to look at later would keep all weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from thresher.data.examples import Examples
from thresher.errors import InputError
from thresher.proxies.evaluation import MEASURED, mean_of, measures_of

SHARE = 0.1
"""Of a training, the part at its end that is looked at."""


@dataclass(frozen=True)
class LastSteps:
    """The test sets that a training is measured on at `count` steps; the last of these is its end, where the model
    itself remains to be measured.
    """

    tasks: Mapping[str, Examples]
    count: int

    @classmethod
    def of(cls, tasks: Mapping[str, Examples], count: int) -> "LastSteps | None":
        """None for a count of 1: nothing is measured on the way. Raises InputError for less."""
        if count < 1:
            raise InputError(f"average={count}; pass 1 or more of the last steps")
        return cls(tasks, count) if count > 1 else None

    @property
    def record(self) -> dict[str, Any]:
        """How many steps of which test sets, as an artefact's request holds it."""
        return {"count": self.count, "tasks": {name: examples.content_hash for name, examples in self.tasks.items()}}

    def check(self, num_steps: int) -> None:
        """Raise InputError for a training that is too short."""
        if self.count > num_steps:
            raise InputError(f"average={self.count} of a training of {num_steps} steps; pass at most that many")

    def steps(self, num_steps: int) -> list[int]:
        """The steps to look at before the end: as many as are asked for less one, in the last tenth where it has them.

        Raises InputError for a training that is too short.
        """
        self.check(num_steps)
        first = min(num_steps - SHARE * num_steps, num_steps - self.count + 1)
        return np.linspace(first, num_steps, self.count).round().astype(int).tolist()[:-1]


class StepMeans:
    """The means that one training was measured by so far: NaN where it has not come to, or there is no such measure."""

    def __init__(self, last: LastSteps, num_steps: int) -> None:
        self._tasks, self.steps = last.tasks, last.steps(num_steps)
        self._means = torch.full((len(self.steps), len(last.tasks), len(MEASURED)), torch.nan, dtype=torch.float64)

    def look(self, model: nn.Module, step: int) -> None:
        """Measure the model after so many steps, if this is a time to; it is left as it was."""
        if step not in self.steps:
            return
        device = str(next(model.parameters()).device)
        for column, examples in enumerate(self._tasks.values()):
            values = measures_of(model, examples, device)
            means = [mean_of(own) for own in values.values()]
            self._means[self.steps.index(step), column] = torch.from_numpy(np.array(means, np.float64))

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The means, [steps, tasks, MEASURED], to be kept with the training's state."""
        return {"last_steps": self._means}

    def facts(self) -> dict[str, Any]:
        """The `steps`, and of each of the `tasks` each measure at them; None where it has none."""
        tasks = {
            name: {
                measure: None if own.isnan().all() else own.tolist()
                for measure, own in zip(MEASURED, part.T, strict=True)
            }
            for name, part in zip(self._tasks, self._means.unbind(dim=1), strict=True)
        }
        return {"steps": self.steps, "tasks": tasks}
