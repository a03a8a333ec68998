"""Every public estimator, made small enough to be checked in seconds. A new method adds one line."""

from robustlabels import (
    CoTeachingClassifier,
    CrossEntropyClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    GCEClassifier,
    MOITClassifier,
    MOITPlusClassifier,
    SCEClassifier,
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
]

# Classifiers around a classifier; max_epochs and the like are set on the inner one.
META_CLASSIFIERS: list = []

# scikit-learn's own checks that a method cannot pass, with the reason.
EXPECTED_FAILED_CHECKS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "rows are drawn into mini-batches, normalised by BatchNorm and mixed at random, so a row of weight two is not "
        "a row drawn twice; scikit-learn lists SGDClassifier for the same reason"
    )
}


def expected_failed_checks(estimator):
    """The one check above, for estimators that take sample weights."""
    return EXPECTED_FAILED_CHECKS if hasattr(estimator, "class_weight") else {}
