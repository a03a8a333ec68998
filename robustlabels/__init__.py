"""Deep learning with noisy labels for scikit-learn: one fit gives a robust model and every row's noise score."""

from robustlabels import augment, datasets, noise
from robustlabels.baselines import CoTeachingClassifier, CrossEntropyClassifier, GCEClassifier, SCEClassifier
from robustlabels.elr import ELRClassifier, ELRPlusClassifier
from robustlabels.metrics import detection_report
from robustlabels.moit import MOITClassifier, MOITPlusClassifier
from robustlabels.persistence import load

__version__ = "0.1.0"

__all__ = [
    "CoTeachingClassifier",
    "CrossEntropyClassifier",
    "ELRClassifier",
    "ELRPlusClassifier",
    "GCEClassifier",
    "MOITClassifier",
    "MOITPlusClassifier",
    "SCEClassifier",
    "augment",
    "datasets",
    "detection_report",
    "load",
    "noise",
]
