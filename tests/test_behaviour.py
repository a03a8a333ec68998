"""What the methods are for: accuracy under wrong labels, and the wrong labels found, with the package's defaults.

They run on scikit-learn's digits. The targets on real data over seeds are tests of ``benchmarks.studies.robustness``.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from robustlabels import CrossEntropyClassifier, ELRClassifier
from robustlabels.comparison import PROBLEMS, measure

# --- digits -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_split():
    return PROBLEMS["digits"].split("sym40", seed=0)


@pytest.fixture(scope="module")
def cross_entropy(digits_split):
    return SimpleNamespace(**measure(CrossEntropyClassifier(random_state=0), digits_split))


@pytest.fixture(scope="module")
def elr_classifier():
    return ELRClassifier(random_state=0)


@pytest.fixture(scope="module")
def elr(elr_classifier, digits_split):
    return SimpleNamespace(**measure(elr_classifier, digits_split))


def test_cross_entropy_memorizes_digits(cross_entropy):
    assert cross_entropy.fitted_labels > 0.95
    assert cross_entropy.test_accuracy < 0.8


def test_elr_beats_cross_entropy_on_digits(elr, cross_entropy):
    assert elr.test_accuracy >= 0.95
    assert elr.test_accuracy - cross_entropy.test_accuracy >= 0.2


def test_elr_finds_the_wrong_digits(elr):
    assert elr.average_precision >= 0.98
    assert elr.precision > 0.9
    assert elr.recall > 0.9
    assert elr.estimated_rate == pytest.approx(elr.true_rate, abs=0.05)


@pytest.mark.usefixtures("elr")
def test_elr_suggests_the_right_digits(elr_classifier, digits_split):
    suggested, flagged = elr_classifier.suggested_labels_, elr_classifier.noise_mask_
    np.testing.assert_array_equal(suggested[~flagged], digits_split.given[~flagged])
    wrong = digits_split.given != digits_split.true
    assert (suggested[wrong] == digits_split.true[wrong]).mean() > 0.9


def test_elr_keeps_up_with_cross_entropy_on_clean_digits():
    split = PROBLEMS["digits"].split("clean", seed=0)
    elr = ELRClassifier(random_state=0).fit(split.X, split.given)
    plain = CrossEntropyClassifier(random_state=0).fit(split.X, split.given)
    assert elr.score(split.X_test, split.y_test) >= plain.score(split.X_test, split.y_test) - 0.02
    assert elr.noise_rate_ < 0.03
