"""Detection metrics: hand-counted numbers, scikit-learn's, and a slower way of counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from robustlabels.metrics import DetectionReport, detection_report


def _random_case(seed, n=200):
    rng = np.random.default_rng(seed)
    flips = rng.random(n) < 0.3
    scores = np.clip(0.3 * flips + rng.random(n), 0, 1)
    return scores, flips, scores > 0.8


def test_hand_counted():
    scores, flips = [0.9, 0.8, 0.7, 0.2, 0.1], [True, False, True, False, False]
    report = detection_report(scores, flips, noise_mask=[True, True, False, False, False])
    assert report == DetectionReport(
        average_precision=pytest.approx((1 / 1 + 2 / 3) / 2),
        roc_auc=pytest.approx(5 / 6),  # of 2 x 3 pairs, only (0.7, 0.8) is the wrong way round
        precision_at_noise=0.5,
        true_rate=0.4,
        precision=0.5,
        recall=0.5,
        estimated_rate=0.4,
    )


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed):
    scores, flips, flagged = _random_case(seed)
    report = detection_report(scores, flips, noise_mask=flagged)
    assert report.average_precision == average_precision_score(flips, scores)
    assert report.roc_auc == roc_auc_score(flips, scores)
    assert report.precision == precision_score(flips, flagged)
    assert report.recall == recall_score(flips, flagged)
    k = flips.sum()
    assert report.precision_at_noise == pytest.approx(flips[np.argsort(-scores)[:k]].mean())


def test_perfect_and_reversed_scores():
    flips = np.array([True, True, False, False, False])
    perfect, reversed_ = detection_report(flips, flips, noise_mask=flips), detection_report(~flips, flips)
    assert (perfect.average_precision, perfect.roc_auc, perfect.precision_at_noise) == (1, 1, 1)
    assert (perfect.precision, perfect.recall, perfect.estimated_rate) == (1, 1, perfect.true_rate)
    assert (reversed_.roc_auc, reversed_.precision_at_noise) == (0, 0)


def test_ties_are_shared():
    constant = detection_report(np.zeros(10), np.arange(10) < 3)
    assert constant.precision_at_noise == pytest.approx(0.3)
    assert constant.average_precision == pytest.approx(0.3)
    assert constant.roc_auc == 0.5


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=2, max_size=30), st.randoms(use_true_random=False)
)
def test_order_of_rows_has_no_influence(rows, random):
    scores, flips = map(np.array, zip(*rows, strict=True))
    if flips.all() or not flips.any():
        return
    order = list(range(len(rows)))
    random.shuffle(order)
    one, other = detection_report(scores, flips), detection_report(scores[order], flips[order])
    assert one.precision_at_noise == pytest.approx(other.precision_at_noise)
    assert one.average_precision == pytest.approx(other.average_precision)


def test_precision_at_noise_is_the_mean_over_random_tie_breaks():
    rng = np.random.default_rng(0)
    scores, flips = rng.integers(0, 4, size=40), rng.random(40) < 0.4
    k = flips.sum()
    draws = [flips[np.lexsort((rng.random(40), -scores))[:k]].mean() for _ in range(4000)]
    assert detection_report(scores, flips).precision_at_noise == pytest.approx(np.mean(draws), abs=5e-3)


def test_nothing_flagged():
    report = detection_report([0.1, 0.2], [True, False], noise_mask=[False, False])
    assert (report.precision, report.recall, report.estimated_rate) == (0, 0, 0)


def test_text():
    scores, flips, flagged = _random_case(0)
    short, long = str(detection_report(scores, flips)), str(detection_report(scores, flips, noise_mask=flagged))
    assert long.startswith(short)
    assert len(short.splitlines()) == 4
    assert len(long.splitlines()) == 7
    assert "None" not in long
    assert repr(detection_report(scores, flips)).startswith("DetectionReport(average_precision=0.")


def test_inputs_are_left_alone():
    scores, flips, flagged = _random_case(1)
    before = scores.copy(), flips.copy(), flagged.copy()
    detection_report(scores, flips, noise_mask=flagged)
    for old, new in zip(before, (scores, flips, flagged), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("scores", "flips", "mask", "message"),
    [
        ([0.1, 0.2], [True], None, r"flip_mask must have one entry per noise score: shape \(2,\), got \(1,\)"),
        ([0.1, 0.2], [True, False], [True] * 3, r"noise_mask must have one entry per noise score.*got \(3,\)"),
        ([0.1, np.nan], [True, False], None, "must be finite, got nan in row 1"),
        ([np.inf, 0.1], [True, False], None, "must be finite, got inf in row 0"),
        ([[0.1, 0.2]], [True, False], None, r"noise_scores must be 1-D, got shape \(1, 2\)"),
        ([0.1, 0.2], [False, False], None, "must have flipped and clean rows, got 0 flips in 2 rows"),
        ([0.1, 0.2], [True, True], None, "must have flipped and clean rows, got 2 flips in 2 rows"),
        ([], [], None, "must have flipped and clean rows"),
        ([0.1, 0.2], [0, 7], None, "flip_mask must hold True and False only, got 7"),
        ([0.1, 0.2], [True, False], [-1, 1], "noise_mask must hold True and False only, got -1"),
    ],
)
def test_errors(scores, flips, mask, message):
    with pytest.raises(ValueError, match=message):
        detection_report(scores, flips, noise_mask=mask)
