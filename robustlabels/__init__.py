"""Deep learning with noisy labels for scikit-learn: one fit gives a robust model and every row's noise score."""

from robustlabels import augment, datasets, displays, noise
from robustlabels.baselines import CoTeachingClassifier, CrossEntropyClassifier, GCEClassifier, SCEClassifier
from robustlabels.cleaning import NoiseAwareClassifier, NoiseFilter
from robustlabels.crowd import consensus
from robustlabels.detection import (
    AutoNoiseDetector,
    ConfidentLearningNoiseDetector,
    EnsembleNoiseDetector,
    EstimatorNoiseDetector,
    InfluenceNoiseDetector,
    KNNNoiseDetector,
    SmallLossNoiseDetector,
)
from robustlabels.dividemix import DivideMixClassifier
from robustlabels.dynamics import fit_recorded
from robustlabels.elr import ELRClassifier, ELRPlusClassifier
from robustlabels.influential_rank import InfluentialRankClassifier
from robustlabels.metrics import (
    detection_report,
    noise_corrected_accuracy,
    noise_corrected_scorer,
    trusted_scorer,
)
from robustlabels.moit import MOITClassifier, MOITPlusClassifier
from robustlabels.pemm import PEMMClassifier
from robustlabels.persistence import load
from robustlabels.report import LabelReport
from robustlabels.sanm import SANMClassifier

__version__ = "0.1.0"

__all__ = [
    "AutoNoiseDetector",
    "CoTeachingClassifier",
    "ConfidentLearningNoiseDetector",
    "CrossEntropyClassifier",
    "DivideMixClassifier",
    "ELRClassifier",
    "ELRPlusClassifier",
    "EnsembleNoiseDetector",
    "EstimatorNoiseDetector",
    "GCEClassifier",
    "InfluenceNoiseDetector",
    "InfluentialRankClassifier",
    "KNNNoiseDetector",
    "LabelReport",
    "MOITClassifier",
    "MOITPlusClassifier",
    "NoiseAwareClassifier",
    "NoiseFilter",
    "PEMMClassifier",
    "SANMClassifier",
    "SCEClassifier",
    "SmallLossNoiseDetector",
    "augment",
    "consensus",
    "datasets",
    "detection_report",
    "displays",
    "fit_recorded",
    "load",
    "noise",
    "noise_corrected_accuracy",
    "noise_corrected_scorer",
    "trusted_scorer",
]
