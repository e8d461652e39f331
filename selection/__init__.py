"""What to keep: from facts about a pool to a subset, from a table of runs to a mixture, from losses to a verdict.

A selection is one line, the spec, such as `minhash | dsdm:0.2`. `select_by` runs it on the `Evidence` that it asks for;
`write_selection` and `open_selection` keep the result on disk. `compare_arms` says whether one way to choose data is
better than another, `judge` and `verdict` say whether decisions of a proxy hold on a reference, and
`compute_multiplier` says how much compute a selection saves. Mixtures of domains are in `thresher.selection.mixture`.
Nothing here needs torch.
"""

from typing import TYPE_CHECKING

from thresher.lazy import lazy

if TYPE_CHECKING:
    from thresher.selection.budget import Budget
    from thresher.selection.choosing import check_spec, select, select_by
    from thresher.selection.evidence import Evidence
    from thresher.selection.methods import METHODS, stages_of
    from thresher.selection.selection import Selected, Selection, open_selection, write_selection
    from thresher.selection.statistics.comparison import POOLED, Comparison, Measurement, compare_arms, standings
    from thresher.selection.statistics.decisions import MEAN, judge
    from thresher.selection.statistics.loss_files import LossColumns, read_losses
    from thresher.selection.statistics.loss_table import LossTable
    from thresher.selection.statistics.multiplier import Multiplier, compute_multiplier
    from thresher.selection.statistics.plateau import find_plateau, recommend
    from thresher.selection.statistics.verdict import Criterion, Verdict, verdict

_HOMES = {
    "Budget": "thresher.selection.budget",
    "Evidence": "thresher.selection.evidence",
    "METHODS": "thresher.selection.methods",
    "stages_of": "thresher.selection.methods",
    "check_spec": "thresher.selection.choosing",
    "select": "thresher.selection.choosing",
    "select_by": "thresher.selection.choosing",
    "Selected": "thresher.selection.selection",
    "Selection": "thresher.selection.selection",
    "open_selection": "thresher.selection.selection",
    "write_selection": "thresher.selection.selection",
    "POOLED": "thresher.selection.statistics.comparison",
    "Comparison": "thresher.selection.statistics.comparison",
    "Measurement": "thresher.selection.statistics.comparison",
    "compare_arms": "thresher.selection.statistics.comparison",
    "standings": "thresher.selection.statistics.comparison",
    "MEAN": "thresher.selection.statistics.decisions",
    "judge": "thresher.selection.statistics.decisions",
    "LossColumns": "thresher.selection.statistics.loss_files",
    "LossTable": "thresher.selection.statistics.loss_table",
    "read_losses": "thresher.selection.statistics.loss_files",
    "Multiplier": "thresher.selection.statistics.multiplier",
    "compute_multiplier": "thresher.selection.statistics.multiplier",
    "find_plateau": "thresher.selection.statistics.plateau",
    "recommend": "thresher.selection.statistics.plateau",
    "Criterion": "thresher.selection.statistics.verdict",
    "Verdict": "thresher.selection.statistics.verdict",
    "verdict": "thresher.selection.statistics.verdict",
}

__all__ = [
    "MEAN",
    "METHODS",
    "POOLED",
    "Budget",
    "Comparison",
    "Criterion",
    "Evidence",
    "LossColumns",
    "LossTable",
    "Measurement",
    "Multiplier",
    "Selected",
    "Selection",
    "Verdict",
    "check_spec",
    "compare_arms",
    "compute_multiplier",
    "find_plateau",
    "judge",
    "open_selection",
    "read_losses",
    "recommend",
    "select",
    "select_by",
    "stages_of",
    "standings",
    "verdict",
    "write_selection",
]

__getattr__ = lazy(__name__, _HOMES)
