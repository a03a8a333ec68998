"""Deep learning with noisy labels for scikit-learn: one fit gives a robust model and every row's noise score."""

__version__ = "0.1.0"  # first: the report and stored results read it while the package is being imported

from robustlabels import augment, datasets, methods, noise
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
from robustlabels.methods import *  # noqa: F403 - the registry lists the names
from robustlabels.metrics import detection_report, noise_corrected_accuracy, noise_corrected_scorer, trusted_scorer
from robustlabels.report import LabelReport, displays
from robustlabels.training.dynamics import fit_recorded
from robustlabels.training.persistence import load, save

__all__ = [
    *methods.__all__,
    "AutoNoiseDetector",
    "ConfidentLearningNoiseDetector",
    "EnsembleNoiseDetector",
    "EstimatorNoiseDetector",
    "InfluenceNoiseDetector",
    "KNNNoiseDetector",
    "LabelReport",
    "NoiseAwareClassifier",
    "NoiseFilter",
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
    "save",
    "trusted_scorer",
]
