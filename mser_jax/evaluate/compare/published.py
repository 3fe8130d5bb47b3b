"""Published scores of Jin et al. (2024) and others, shown beside a run's own, never among them."""

from __future__ import annotations

import dataclasses

CAVEAT = (
    "Published: copied from table 1 of Jin et al. (2024), nothing of it computed here. The paper's "
    "protocol is leave-one-sample-out as written (eq. 4.5), and it does not say how F1 is "
    "averaged: not strictly comparable with this run."
)


@dataclasses.dataclass(frozen=True)
class Published:
    """Accuracy in percent and F1 in 0..1 of one method (the average of F1 is not stated)."""

    method: str
    accuracy: float
    f1: float
    source: str = "published"


@dataclasses.dataclass(frozen=True)
class PublishedComposite:
    """UF1 and UAR on the complete composite of MEGC 2019, as published.

    Attributes:
      method: Name in the method's paper.
      uf1: UF1 of all 442 clips.
      uar: UAR of all 442 clips.
      chosen_on_test: True if the epoch, or a setting, is known to have been chosen on the test
        subject; the scores then do not estimate those of an unknown person.
    """

    method: str
    uf1: float
    uar: float
    chosen_on_test: bool = False


COMPOSITE_CAVEAT = (
    "Published: copied from the papers, nothing of it computed here. Their flow, their crops and "
    "their rule for the epoch differ, and few of them say which clips decided their settings. The "
    "methods marked 'chosen on the test subject' are known to have picked the best epoch of each "
    "fold on the clips that they report. Such a score is higher than what an unknown person would "
    "get."
)
COMPOSITE_CLIPS = 442  # clips of these scores; runs on fewer (drawn clips) do not show them
# Not all of these methods are models here.
COMPOSITE = (
    PublishedComposite("LBP-TOP", 0.588, 0.579),
    PublishedComposite("Bi-WOOF", 0.630, 0.623),
    PublishedComposite("CapsuleNet", 0.652, 0.651, chosen_on_test=True),  # by its authors' code
    PublishedComposite("OFF-ApexNet", 0.720, 0.710),
    PublishedComposite("Dual-Inception", 0.732, 0.728),
    PublishedComposite("STSTNet", 0.735, 0.761),
    PublishedComposite("RCN", 0.743, 0.719),
    PublishedComposite("FeatRef", 0.784, 0.783),
    PublishedComposite("EMR", 0.789, 0.782, chosen_on_test=True),
    PublishedComposite("HTNet", 0.860, 0.848, chosen_on_test=True),
    PublishedComposite("CausalNet", 0.898, 0.902, chosen_on_test=True),
)


def composite(method: str) -> PublishedComposite | None:
    """Return the published scores of a method on the composite, or None."""
    return next((row for row in COMPOSITE if row.method == method), None)


_DATASETS = ("smic", "samm", "casme2")
# Table 1. Its references do not identify its DINet; it is not the Dual-Inception network.
_TABLE = {
    "LBP-TOP": ((54.44, 0.567), (46.22, 0.488), (65.09, 0.674)),
    "STCLQP": ((57.90, 0.591), (54.65, 0.515), (72.63, 0.708)),
    "DisLBP-STIP": ((59.94, 0.611), (60.20, 0.619), (78.81, 0.714)),
    "LGCcon": ((61.16, 0.600), (62.77, 0.608), (77.40, 0.737)),
    "Bi-WOOF": ((62.56, 0.564), (61.88, 0.583), (78.46, 0.709)),
    "C3D": ((61.28, 0.610), (73.71, 0.692), (69.71, 0.711)),
    "OFF-ApexNet": ((71.79, 0.712), (59.66, 0.566), (87.69, 0.822)),
    "DINet (as the paper names it)": ((68.66, 0.644), (75.29, 0.739), (78.43, 0.763)),
    "CapsuleNet": ((65.06, 0.643), (68.30, 0.644), (70.18, 0.706)),
    "RCN": ((70.65, 0.711), (70.20, 0.691), (80.39, 0.826)),
    "SLSTT": ((72.40, 0.707), (76.50, 0.683), (90.12, 0.885)),
    "Jin et al. (2024), the paper": ((74.60, 0.751), (84.77, 0.793), (91.35, 0.889)),
}


# Figure 11: accuracy points (section 4.3.3); for the flow the text says "4% or so".
_GAINS = {
    "flow": ("about 4", "about 4", "about 4"),
    "fusion": ("3.08", "1.86", "3.7"),
}


def gains(dataset: str) -> dict[str, str]:
    """Return the gains in accuracy that the paper reports for a part, in points.

    Args:
      dataset: Value of `config.data.dataset`; 'smic', 'samm' and 'casme2' have gains.

    Returns:
      part ('flow', 'fusion') -> points, as the paper writes them; empty for other data sets.
    """
    if dataset not in _DATASETS:
        return {}
    column = _DATASETS.index(dataset)
    return {part: points[column] for part, points in _GAINS.items()}


def rows(dataset: str) -> list[Published]:
    """Return the paper's column of one data set, in the order of its table.

    Args:
      dataset: Value of `config.data.dataset`; 'smic', 'samm' and 'casme2' have a column.

    Returns:
      One entry for each method; empty for other data sets.
    """
    if dataset not in _DATASETS:
        return []
    column = _DATASETS.index(dataset)
    return [Published(method, *figures[column]) for method, figures in _TABLE.items()]
