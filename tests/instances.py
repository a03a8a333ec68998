"""Every public estimator, made small enough to be checked in seconds."""

from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import has_fit_parameter

from robustlabels import (
    AutoNoiseDetector,
    ConfidentLearningNoiseDetector,
    CrossEntropyClassifier,
    ELRClassifier,
    EnsembleNoiseDetector,
    EstimatorNoiseDetector,
    InfluenceNoiseDetector,
    InfluentialRankClassifier,
    KNNNoiseDetector,
    NoiseAwareClassifier,
    NoiseFilter,
    SANMClassifier,
    SmallLossNoiseDetector,
)
from robustlabels.methods import METHODS

# Every method of the registry; a new one needs no line here. Those with two networks or several stages train less.
EPOCHS = {"ELR+": 8, "MOIT": 6, "MOIT+": 6, "DivideMix": 6}
CLASSIFIERS = [method.classifier(max_epochs=EPOCHS.get(name, 15)) for name, method in METHODS.items()]

# Classifiers around a classifier; max_epochs and the like are set on the inner one.
META_CLASSIFIERS: list = [
    InfluentialRankClassifier(CrossEntropyClassifier(max_epochs=8), max_rounds=2),
    SANMClassifier(CrossEntropyClassifier(max_epochs=8)),
]

# What repairs a training set: a detector and, but for the filter, a classifier of any kind.
CLEANERS: list = [
    NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector()),
    NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector(), strategy="weight"),
    NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector(), strategy="relabel"),
    NoiseAwareClassifier(
        CrossEntropyClassifier(max_epochs=6, device="cpu"),
        AutoNoiseDetector(ELRClassifier(max_epochs=2, device="cpu"), n_repeats=1, device="cpu"),
    ),
    NoiseFilter(KNNNoiseDetector()),
]

DETECTORS = [
    KNNNoiseDetector(device="cpu"),
    SmallLossNoiseDetector(ELRClassifier(max_epochs=5, device="cpu")),
    ConfidentLearningNoiseDetector(cv=3),
    EstimatorNoiseDetector(ELRClassifier(max_epochs=5, device="cpu")),
    InfluenceNoiseDetector(),
    EnsembleNoiseDetector([("knn", KNNNoiseDetector(device="cpu")), ("influence", InfluenceNoiseDetector())]),
    AutoNoiseDetector(n_repeats=1, device="cpu"),
]

# scikit-learn's own checks that a method cannot pass, with the reason.
EXPECTED_FAILED_CHECKS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "rows are drawn into mini-batches, normalized by BatchNorm and mixed at random, so a row of weight two is not "
        "a row drawn twice; scikit-learn lists SGDClassifier for the same reason"
    )
}


def expected_failed_checks(estimator):
    """The one check above, for estimators that take sample weights."""
    return EXPECTED_FAILED_CHECKS if has_fit_parameter(estimator, "sample_weight") else {}
