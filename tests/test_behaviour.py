"""What the methods are for: accuracy under wrong labels, and the wrong labels found, with the package's defaults.

The fast forms run on scikit-learn's digits. The slow ones are the targets on real data over seeds, by the same code
that writes the tables of docs/benchmarks (``python -m benchmarks.studies.robustness``).
"""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmarks.studies import robustness
from robustlabels import CrossEntropyClassifier, ELRClassifier

# --- digits -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_split():
    return robustness.small_table(load_digits, "sym40", seed=0)


@pytest.fixture(scope="module")
def cross_entropy(digits_split):
    return SimpleNamespace(**robustness.measure(CrossEntropyClassifier(random_state=0), digits_split))


@pytest.fixture(scope="module")
def elr_classifier():
    return ELRClassifier(random_state=0)


@pytest.fixture(scope="module")
def elr(elr_classifier, digits_split):
    return SimpleNamespace(**robustness.measure(elr_classifier, digits_split))


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
    assert elr.flagged == pytest.approx(elr.true_rate, abs=0.05)


@pytest.mark.usefixtures("elr")
def test_elr_suggests_the_right_digits(elr_classifier, digits_split):
    suggested, flagged = elr_classifier.suggested_labels_, elr_classifier.noise_mask_
    np.testing.assert_array_equal(suggested[~flagged], digits_split.given[~flagged])
    wrong = digits_split.given != digits_split.true
    assert (suggested[wrong] == digits_split.true[wrong]).mean() > 0.9


def test_elr_keeps_up_with_cross_entropy_on_clean_digits():
    split = robustness.small_table(load_digits, "clean", seed=0)
    elr = ELRClassifier(random_state=0).fit(split.X, split.given)
    plain = CrossEntropyClassifier(random_state=0).fit(split.X, split.given)
    assert elr.score(split.X_test, split.y_test) >= plain.score(split.X_test, split.y_test) - 0.02
    assert elr.noise_rate_ < 0.03


# --- the targets on real data -----------------------------------------------------------------------------------------


def over_seeds(name, labels, method, seeds=None):
    """Mean over the problem's seeds of every number."""
    problem = robustness.PROBLEMS[name]
    results = [robustness.run(name, labels, method, seed)[1]() for seed in (problem.seeds if seeds is None else seeds)]
    mean = {key: float(np.mean([result[key] for result in results])) for key in results[0]}
    print(name, labels, method, {key: round(value, 4) for key, value in mean.items()})
    return SimpleNamespace(**mean)


@pytest.mark.slow
def test_digits_over_seeds():
    elr, plain = over_seeds("digits", "sym40", "ELR"), over_seeds("digits", "sym40", "CE")
    out_of_fold = over_seeds("digits", "sym40", robustness.OUT_OF_FOLD)
    assert elr.true_rate == pytest.approx(0.4, abs=0.001)
    assert elr.test_accuracy >= 0.95
    assert elr.test_accuracy - plain.test_accuracy >= 0.2
    assert elr.average_precision >= 0.98
    assert elr.average_precision >= out_of_fold.average_precision


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "iris", "wine"])
def test_clean_data_over_seeds(name):
    elr, plain = over_seeds(name, "clean", "ELR"), over_seeds(name, "clean", "CE")
    assert elr.test_accuracy >= plain.test_accuracy - 0.02


@pytest.mark.slow
@pytest.mark.usefixtures("data_home")
def test_cifar10_features_with_human_labels():
    elr, plain = over_seeds("cifar10_feats", "worse", "ELR"), over_seeds("cifar10_feats", "worse", "CE")
    assert elr.test_accuracy >= 0.79
    assert elr.test_accuracy - plain.test_accuracy >= 0.04


@pytest.mark.slow
@pytest.mark.usefixtures("data_home")
def test_clean_cifar10_features():
    elr, plain = over_seeds("cifar10_feats", "clean", "ELR"), over_seeds("cifar10_feats", "clean", "CE")
    assert elr.test_accuracy >= plain.test_accuracy - 0.02


@pytest.mark.slow
@pytest.mark.usefixtures("data_home")
def test_fashion_mnist_over_seeds():
    elr, plain = over_seeds("fashion_mnist", "sym40", "ELR"), over_seeds("fashion_mnist", "sym40", "CE")
    assert elr.test_accuracy - plain.test_accuracy >= 0.1
