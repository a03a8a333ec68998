"""Detection metrics: hand-counted numbers, scikit-learn's, and a slower way of counting. Scores from noisy labels:
expectations by enumeration and over draws."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    get_scorer,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robustlabels import noise_corrected_accuracy, noise_corrected_scorer, trusted_scorer
from robustlabels.metrics import DetectionReport, detection_report
from robustlabels.noise import AsymmetricNoise, TransitionNoise


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


def test_precision_at_a_budget():
    scores, flips, _ = _random_case(2)
    for budget in (1, 10, 200):
        report = detection_report(scores, flips, budget=budget)
        assert report.precision_at_budget == pytest.approx(flips[np.argsort(-scores)[:budget]].mean())
    assert f"precision in top 200 {flips.mean():.3f}" in str(report)
    same = detection_report(scores, flips, budget=int(flips.sum()))
    assert same.precision_at_budget == same.precision_at_noise
    with pytest.raises(ValueError, match=r"budget must be an integer in \[1, 200\], got 201"):
        detection_report(scores, flips, budget=201)


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


# --- scores from labels that may be wrong -----------------------------------------------------------------------------

MATRIX = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]])


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 2.0, 0.25]])
def test_corrected_accuracy_is_unbiased_by_enumeration(weights):
    """The mean over all 81 ways in which four labels can be noisy, each with its probability."""
    y, y_pred = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1])
    mean, total = 0.0, 0.0
    for noisy in itertools.product(range(3), repeat=4):
        probability = np.prod(MATRIX[y, noisy])
        estimate = noise_corrected_accuracy(noisy, y_pred, MATRIX, labels=[0, 1, 2], sample_weight=weights)
        mean, total = mean + probability * estimate, total + probability
    assert total == pytest.approx(1)
    assert mean == pytest.approx(accuracy_score(y, y_pred, sample_weight=weights), abs=1e-12)


def test_corrected_accuracy_is_unbiased_over_draws():
    rng = np.random.default_rng(0)
    y = np.array(["ant", "bee", "cat"])[rng.choice(3, size=300, p=[0.5, 0.3, 0.2])]
    y_pred = np.where(rng.random(300) < 0.75, y, rng.permutation(y))
    estimates, plain = [], []
    for seed in range(400):
        y_noisy = TransitionNoise(MATRIX, random_state=seed).flip(y)
        estimates.append(noise_corrected_accuracy(y_noisy, y_pred, MATRIX))
        plain.append(accuracy_score(y_noisy, y_pred))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert error < 0.003
    assert abs(np.mean(estimates) - accuracy_score(y, y_pred)) < 3 * error
    assert abs(np.mean(plain) - accuracy_score(y, y_pred)) > 0.1


def test_corrected_accuracy_limits():
    rng = np.random.default_rng(0)
    y, y_pred = rng.integers(4, size=100), rng.integers(4, size=100)
    assert noise_corrected_accuracy(y, y_pred, np.eye(4)) == pytest.approx(accuracy_score(y, y_pred))
    rate = 0.3  # symmetric noise: a straight line through chance
    matrix = np.full((4, 4), rate / 3) + (1 - rate - rate / 3) * np.eye(4)
    expected = (accuracy_score(y, y_pred) - rate / 3) / (1 - rate - rate / 3)
    assert noise_corrected_accuracy(y, y_pred, matrix) == pytest.approx(expected)


def test_corrected_accuracy_takes_labels_in_any_order():
    y, y_pred = np.array(["b", "a", "c", "c"]), np.array(["b", "c", "c", "a"])
    expected = noise_corrected_accuracy(y, y_pred, MATRIX)
    order = [2, 0, 1]
    labels = np.array(["a", "b", "c"])[order]
    assert noise_corrected_accuracy(y, y_pred, MATRIX[order][:, order], labels=labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("matrix", "params", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], {}, "has no inverse: its 2 rows have rank 1"),
        ([[0.9, 0.1]], {}, r"must be square, got shape \(1, 2\)"),
        ([[0.9, 0.2], [0.1, 0.9]], {}, "must sum to 1, row 0 sums to 1.1"),
        ([[1.1, -0.1], [0, 1]], {}, "finite numbers >= 0, got a smallest entry of -0.1"),
        ([[np.nan, 1], [0, 1]], {}, "finite numbers >= 0"),
        (np.eye(3), {}, r"has 3 rows, but there are 2 classes \[0, 1\]; pass labels="),
        (np.eye(2), {"labels": [1, 2]}, r"y_noisy has the label 0, which labels= does not have: \[1, 2\]"),
    ],
)
def test_corrected_accuracy_errors(matrix, params, message):
    with pytest.raises(ValueError, match=message):
        noise_corrected_accuracy([0, 1, 1], [0, 1, 0], matrix, **params)
    if not params and "pass labels=" not in message:
        with pytest.raises(ValueError, match=message):
            noise_corrected_scorer(matrix)


def test_corrected_accuracy_ranks_where_noisy_accuracy_does_not(digits):
    """Most of class 0 is labeled 1 and of class 2, 3: to repeat that looks better on noisy labels, and is worse."""
    _, _, _, y, _ = digits
    noise = AsymmetricNoise(0.6, {0: 1, 2: 3}, random_state=0)
    y_noisy = noise.flip(y)
    honest = np.where(np.arange(len(y)) % 20 == 0, (y + 5) % 10, y)  # 5 % wrong
    parrot = np.array([1, 1, 3, 3, 4, 5, 6, 7, 8, 9])[honest]
    assert accuracy_score(y_noisy, parrot) > accuracy_score(y_noisy, honest)
    corrected = [
        noise_corrected_accuracy(y_noisy, p, noise.transition_matrix_, labels=range(10)) for p in (parrot, honest)
    ]
    np.testing.assert_allclose(corrected, [accuracy_score(y, parrot), accuracy_score(y, honest)], atol=0.02)


def test_corrected_scorer_in_grid_search(blobs):
    X, y = blobs
    noise = TransitionNoise(MATRIX, random_state=0)
    y_noisy = noise.flip(y)
    scorer = noise_corrected_scorer(MATRIX, labels=["ant", "bee", "cat"])
    grid = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, scoring=scorer, n_jobs=2, error_score="raise")
    grid.fit(X, y_noisy)
    fold = cross_val_score(LogisticRegression(C=grid.best_params_["C"]), X, y_noisy, scoring=scorer)
    assert fold.mean() == pytest.approx(grid.best_score_)
    assert pickle.loads(pickle.dumps(scorer))(grid, X, y_noisy) == scorer(grid, X, y_noisy)


# --- trusted rows -----------------------------------------------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_trusted_scorer_scores_the_trusted_rows(blobs):
    X, y = blobs
    clf = LogisticRegression().fit(X, y)
    wrong = np.where(np.arange(200) < 50, y, np.roll(y, 1))
    trusted = np.arange(200) < 50
    assert trusted_scorer()(clf, X, wrong, trusted=trusted) == clf.score(X[:50], y[:50])
    assert trusted_scorer("neg_log_loss")(clf, X, wrong, trusted=trusted) == get_scorer("neg_log_loss")(
        clf, X[:50], y[:50]
    )
    assert trusted_scorer(lambda clf, X, y: len(y))(clf, X.tolist(), list(wrong), trusted=list(trusted)) == 50
    frame = trusted_scorer(lambda clf, X, y: (X.index[-1], y.index[-1]))
    assert frame(clf, pd.DataFrame(X), pd.Series(y), trusted=pd.Series(trusted)) == (49, 49)


@pytest.mark.usefixtures("routing")
def test_trusted_scorer_in_grid_search(blobs):
    X, y = blobs
    rng = np.random.default_rng(0)
    trusted = rng.random(200) < 0.5
    noisy = np.where(trusted, y, rng.permutation(y))
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    cv = StratifiedKFold(4)
    grid = GridSearchCV(
        pipe, {"logisticregression__C": [0.01, 1.0]}, scoring=trusted_scorer(), cv=cv, n_jobs=2, error_score="raise"
    )
    grid.fit(X, noisy, trusted=trusted)
    by_hand = []
    for train, test in cv.split(X, noisy):
        fitted = clone(pipe).set_params(**grid.best_params_).fit(X[train], noisy[train])
        rows = test[trusted[test]]
        by_hand.append(fitted.score(X[rows], noisy[rows]))
    assert grid.best_score_ == pytest.approx(np.mean(by_hand))
    scores = cross_validate(
        pipe,
        X,
        noisy,
        cv=cv,
        params={"trusted": trusted},
        scoring={"trusted": trusted_scorer(), "log": trusted_scorer("neg_log_loss"), "all": "accuracy"},
    )
    assert scores["test_all"].mean() < scores["test_trusted"].mean() - 0.1
    assert (scores["test_log"] < 0).all()
    renamed = trusted_scorer().set_score_request(trusted="checked")
    again = cross_val_score(pipe, X, noisy, cv=cv, params={"checked": trusted}, scoring=renamed)
    np.testing.assert_array_equal(again, scores["test_trusted"])


@pytest.mark.usefixtures("routing")
def test_trusted_scorer_passes_weights_on(blobs):
    X, y = blobs
    clf = LogisticRegression(C=1e-3).fit(X, y)
    weight = np.random.default_rng(0).random(200)
    trusted = np.arange(200) % 3 == 0
    scorer = trusted_scorer("accuracy")
    expected = accuracy_score(y[trusted], clf.predict(X[trusted]), sample_weight=weight[trusted])
    assert scorer(clf, X, y, trusted=trusted, sample_weight=weight) == pytest.approx(expected)
    scorer.set_score_request(sample_weight=True)
    dummy = DummyClassifier().set_fit_request(sample_weight=False)
    params = {"trusted": trusted, "sample_weight": weight}
    scores = cross_val_score(dummy, X, y, cv=StratifiedKFold(3), params=params, scoring=scorer)
    train, test = next(StratifiedKFold(3).split(X, y))
    rows = test[trusted[test]]
    fitted = DummyClassifier().fit(X[train], y[train])
    assert scores[0] == pytest.approx(accuracy_score(y[rows], fitted.predict(X[rows]), sample_weight=weight[rows]))


def test_trusted_scorer_errors(blobs):
    X, y = blobs
    clf = LogisticRegression().fit(X, y)
    scorer = pickle.loads(pickle.dumps(trusted_scorer()))
    assert repr(scorer) == "trusted_scorer('accuracy')"
    with pytest.raises(ValueError, match=r"needs trusted=, one flag per row: .*enable_metadata_routing=True"):
        scorer(clf, X, y)
    with pytest.raises(ValueError, match="got 200 rows and none of them is trusted; mark some"):
        scorer(clf, X, y, trusted=np.zeros(200, dtype=bool))
    with pytest.raises(ValueError, match=r"trusted must have one entry per row: shape \(200,\), got \(3,\)"):
        scorer(clf, X, y, trusted=[True] * 3)
    with pytest.raises(ValueError, match="trusted must hold True and False only, got 7"):
        scorer(clf, X, y, trusted=np.full(200, 7))
    with pytest.raises(ValueError, match="acuracy"):
        trusted_scorer("acuracy")
