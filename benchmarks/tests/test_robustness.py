"""The study of robustness: its stored rows, and its targets on real data over seeds."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.studies import robustness
from robustlabels.comparison import find


def test_a_stored_row_may_lack_a_younger_parameter():
    one = robustness.run("digits", "sym40", "ELR", 0)
    wanted, unset = one.row, one.defaults
    row = {**wanted, "params": {k: v for k, v in wanted["params"].items() if k != "head"}}
    assert find([row], wanted, unset) is row
    assert find([row], {**wanted, "params": {**wanted["params"], "module__width": 7}}, unset) is None
    assert find([row], {**wanted, "params": {**wanted["params"], "head": "mine"}}, unset) is None


# --- the targets on real data -----------------------------------------------------------------------------------------


def over_seeds(name, labels, method, seeds=None):
    """Mean over the problem's seeds of every number."""
    results = [one.work() for one in robustness.runs([name], [method], seeds) if one.row["noise"] == labels]
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
