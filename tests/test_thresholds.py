"""Where to cut, and what a cut promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustlabels.detection.thresholds import (
    TransitionModel,
    fdr_threshold,
    fit_transition_model,
    mixture_split,
    rate_threshold,
    uniform_share,
)


@given(st.lists(st.integers(0, 20), min_size=2, max_size=60), st.floats(0, 1))
def test_rate_threshold_flags_the_highest(values, rate):
    scores = np.array(values) / 20
    flagged = scores > rate_threshold(scores, rate)
    count = round(rate * len(scores))
    assert flagged.sum() <= count
    highest = np.sort(scores)[::-1]
    if count and count < len(scores) and highest[count - 1] > highest[count]:
        assert flagged.sum() == count
    if count == len(scores):
        assert flagged.all()


@given(st.lists(st.tuples(st.integers(0, 10), st.floats(0, 1)), min_size=1, max_size=60), st.floats(0.05, 1))
def test_fdr_threshold_is_the_largest_set_that_keeps_the_promise(rows, alpha):
    scores, wrong = np.array([r[0] for r in rows]) / 10, np.array([r[1] for r in rows])
    found = fdr_threshold(scores, wrong, alpha)
    kept = {}  # size of every set that can be flagged: the share of right rows in it, with one more
    for t in [*np.unique(scores), -1.0]:
        flagged = scores > t
        if flagged.any():
            kept[flagged.sum()] = (1 + (1 - wrong[flagged]).sum()) / flagged.sum()
    size = 0 if found is None else (scores > found).sum()
    assert size == 0 or kept[size] <= alpha + 1e-9
    assert all(share > alpha - 1e-9 for larger, share in kept.items() if larger > size)


@pytest.mark.parametrize("kind", ["gaussian", "beta"])
def test_mixture_splits_two_groups_and_leaves_one_alone(kind):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.beta(2, 20, 700), rng.beta(20, 3, 300)])
    assert (values > mixture_split(values, kind)).mean() == pytest.approx(0.3, abs=0.02)
    assert mixture_split(np.full(10, 0.4), kind) == 0.4
    shifted = mixture_split(5 + 3 * values, kind)  # any scale
    assert (5 + 3 * values > shifted).mean() == pytest.approx((values > mixture_split(values, kind)).mean(), abs=0.005)


def simulated(seed, n=8000, temperature=1.0, flips=None):
    """True classes, labels flipped by class, and beliefs that are right up to a temperature."""
    rng = np.random.default_rng(seed)
    flips = np.array([[0.8, 0.2, 0.0], [0.05, 0.9, 0.05], [0.0, 0.4, 0.6]]) if flips is None else flips
    exact = rng.dirichlet([0.25, 0.25, 0.25], size=n)
    true = (rng.random(n)[:, None] > exact.cumsum(1)).sum(1).clip(0, 2)
    y = (rng.random(n)[:, None] > flips[true].cumsum(1)).sum(1).clip(0, 2)
    belief = np.maximum(exact, 1e-6) ** (1 / temperature)
    return belief / belief.sum(1, keepdims=True), true, y, flips


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_transition_model_recovers_what_was_simulated(temperature):
    belief, _, y, flips = simulated(0, temperature=temperature)
    model = fit_transition_model(belief, y)
    np.testing.assert_allclose(model.transition, flips, atol=0.03)
    assert model.temperature == pytest.approx(temperature, rel=0.1)


def test_wrong_probability_is_bayes():
    model = TransitionModel(np.array([[0.9, 0.1], [0.3, 0.7]]), temperature=2.0)
    belief, y = np.array([[0.75, 0.25], [0.4, 0.6]]), np.array([1, 0])
    slow = []
    for b, k in zip(belief, y, strict=True):
        g = b**2 / (b**2).sum()
        slow.append(1 - g[k] * model.transition[k, k] / sum(g[j] * model.transition[j, k] for j in range(2)))
    np.testing.assert_allclose(model.wrong_probability(belief, y), slow)


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_fdr_is_kept_on_simulated_scores(alpha):
    shares, found = [], []
    for seed in range(3):
        belief, true, y, _ = simulated(seed, temperature=1.5)
        wrong = fit_transition_model(belief, y).wrong_probability(belief, y)
        flagged = wrong > fdr_threshold(wrong, wrong, alpha)
        shares.append((y == true)[flagged].mean())
        found.append(flagged[y != true].mean())
    assert np.mean(shares) == pytest.approx(alpha, abs=0.02)
    assert np.mean(found) > 0.2


def test_right_labels_are_left_alone_even_where_beliefs_are_weak():
    belief, true, _, _ = simulated(0)
    wrong = fit_transition_model(belief, true).wrong_probability(belief, true)
    assert wrong.mean() < 0.01
    assert fdr_threshold(wrong, wrong, 0.1) is None


def test_weights_leave_rows_out():
    belief, _, y, flips = simulated(0)
    spoiled = np.where(np.arange(len(y)) % 2, 0, y)
    model = fit_transition_model(belief, spoiled, weight=1.0 - np.arange(len(y)) % 2)
    np.testing.assert_allclose(model.transition, flips, atol=0.04)


def test_uniform_share_of_two_classes_is_their_balance():
    assert uniform_share(np.array([[0.9, 0.1], [0.1, 0.9]])) == 1
    assert uniform_share(np.array([[1.0, 0.0], [0.4, 0.6]])) == 0
    assert uniform_share(np.eye(3)) == 1
