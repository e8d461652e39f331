"""What other people's tools take from Thresher, each in a file: training loops, data loaders, hubs, trackers, pages.

A package that only one of them needs is imported where it is used; `pip install 'thresher[integrations]'` brings all.
What can be read as a source (tasks of lm-evaluation-harness, MDS, Megatron) is in `thresher.data`.
"""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.integrations.atlas import write_atlas
    from thresher.integrations.datatrove_filter import selection_filter
    from thresher.integrations.hub import push_to_hub
    from thresher.integrations.sampling import SelectionSampler, mixture_weights
    from thresher.integrations.trainer_callback import AttributionCallback

__all__ = [
    "AttributionCallback",
    "SelectionSampler",
    "mixture_weights",
    "push_to_hub",
    "selection_filter",
    "write_atlas",
]

_HOMES = {
    "AttributionCallback": "thresher.integrations.trainer_callback",
    "SelectionSampler": "thresher.integrations.sampling",
    "mixture_weights": "thresher.integrations.sampling",
    "push_to_hub": "thresher.integrations.hub",
    "selection_filter": "thresher.integrations.datatrove_filter",
    "write_atlas": "thresher.integrations.atlas",
}

__getattr__ = lazy(__name__, _HOMES)
