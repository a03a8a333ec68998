"""Which labels are wrong: detectors that score every row, and say how many to flag and how sure they are of it.

A detector is a scikit-learn transformer that changes nothing: its ``fit(X, y)`` leaves ``noise_scores_`` and the like,
aligned with the rows of X. What acts on them is :class:`~robustlabels.NoiseAwareClassifier`. The contract is
:class:`~robustlabels.detection.NoiseDetector`; a detector writes one method, ``_detect(X, y)``, that returns
:class:`~robustlabels.training.beliefs.Beliefs`. Each detector has its own module.
"""

from robustlabels.detection.auto import (
    HEAVY,
    AutoNoiseDetector,
    canonical_order,
    is_heavy_tailed,
    normal_quantiles,
    one_layer,
)
from robustlabels.detection.base import N_DIRECTIONS, THRESHOLDS, WIDE, NoiseDetector
from robustlabels.detection.confident_learning import ConfidentLearningNoiseDetector
from robustlabels.detection.ensemble import FLOOR, EnsembleNoiseDetector
from robustlabels.detection.estimator import EstimatorNoiseDetector
from robustlabels.detection.influence import InfluenceNoiseDetector
from robustlabels.detection.knn import KNNNoiseDetector
from robustlabels.detection.small_loss import SmallLossNoiseDetector
from robustlabels.training.beliefs import Beliefs
from robustlabels.training.dynamics import EARLY

__all__ = [
    "EARLY",
    "FLOOR",
    "HEAVY",
    "N_DIRECTIONS",
    "THRESHOLDS",
    "WIDE",
    "AutoNoiseDetector",
    "Beliefs",
    "ConfidentLearningNoiseDetector",
    "EnsembleNoiseDetector",
    "EstimatorNoiseDetector",
    "InfluenceNoiseDetector",
    "KNNNoiseDetector",
    "NoiseDetector",
    "SmallLossNoiseDetector",
    "canonical_order",
    "is_heavy_tailed",
    "normal_quantiles",
    "one_layer",
]
