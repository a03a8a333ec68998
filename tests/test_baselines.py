"""The baselines as estimators."""

import numpy as np
import pytest

from robustlabels import CoTeachingClassifier, CrossEntropyClassifier, GCEClassifier, SCEClassifier


def test_co_teaching_estimates_the_noise_rate(digits):
    X, y, X_test, y_test, _ = digits
    clf = CoTeachingClassifier(random_state=0, device="cpu").fit(X, y)
    assert clf.noise_rate_ == pytest.approx(0.4, abs=0.1)
    assert clf.score(X_test, y_test) > 0.85
    given = CoTeachingClassifier(noise_rate=0.25, max_epochs=2, random_state=0, device="cpu").fit(X, y)
    assert given.noise_rate_ == 0.25


def test_limits_give_cross_entropy(blobs):
    X, y = blobs
    params = {"max_epochs": 3, "random_state": 0, "device": "cpu"}
    plain = CrossEntropyClassifier(**params).fit(X, y).predict_proba(X)
    same = SCEClassifier(alpha=1.0, beta=0.0, **params).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(plain, same)
    almost = GCEClassifier(q=1e-6, **params).fit(X, y).predict_proba(X)
    np.testing.assert_allclose(plain, almost, atol=1e-3)


@pytest.mark.parametrize(
    ("clf", "message"),
    [
        (GCEClassifier(q=0), r"q must be a number in \(0, 1\], got 0"),
        (SCEClassifier(log_zero=1.0), "log_zero"),
        (CoTeachingClassifier(noise_rate=1.0), r"noise_rate must be a number in \[0, 1\) or None, got 1.0"),
    ],
)
def test_bad_parameters_are_named(blobs, clf, message):
    with pytest.raises(ValueError, match=message):
        clf.fit(*blobs)
