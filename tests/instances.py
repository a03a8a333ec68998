"""Every public estimator, made small enough to be checked in seconds. A new method adds one line."""

from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import has_fit_parameter

from robustlabels import (
    AutoNoiseDetector,
    ConfidentLearningNoiseDetector,
    CoTeachingClassifier,
    CrossEntropyClassifier,
    DivideMixClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    EnsembleNoiseDetector,
    EstimatorNoiseDetector,
    GCEClassifier,
    InfluenceNoiseDetector,
    InfluentialRankClassifier,
    KNNNoiseDetector,
    MOITClassifier,
    MOITPlusClassifier,
    NoiseAwareClassifier,
    NoiseFilter,
    PEMMClassifier,
    SANMClassifier,
    SCEClassifier,
    SmallLossNoiseDetector,
)

CLASSIFIERS = [
    CrossEntropyClassifier(max_epochs=15),
    GCEClassifier(max_epochs=15),
    SCEClassifier(max_epochs=15),
    CoTeachingClassifier(max_epochs=15),
    ELRClassifier(max_epochs=15),
    ELRPlusClassifier(max_epochs=8),
    MOITClassifier(max_epochs=6),
    MOITPlusClassifier(max_epochs=6),
    DivideMixClassifier(max_epochs=6),
    PEMMClassifier(max_epochs=15),
]

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
