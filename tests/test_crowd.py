"""Several annotators: crowd-kit's numbers, a slow recomputation, what EM guarantees, and three people on real news."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.model_selection import StratifiedKFold

from robustlabels import CrossEntropyClassifier, consensus
from robustlabels.crowd import average_annotator, expectation, maximization
from robustlabels.datasets import load_noisyag_crowd

# fmt: off
SMALL = np.array([
    [2, -1, 2, 2], [2, -1, 1, 1], [2, -1, 0, 2], [2, 2, -1, 2], [1, 0, 1, 1], [2, 2, -1, 2], [2, -1, 2, -1],
    [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, -1], [0, -1, -1, -1], [2, 2, 0, -1], [-1, 0, 0, 2], [0, 0, -1, 0],
    [1, 0, 1, 0], [2, 2, 2, 1], [0, 2, 1, 2], [2, 2, -1, -1], [0, 0, 2, 1], [1, -1, 1, 1], [-1, -1, 2, 1],
    [1, 1, 1, -1], [1, 2, 1, -1], [0, 0, 2, 0], [2, -1, 2, -1], [0, 0, -1, 0], [2, -1, -1, 2], [1, 1, -1, 2],
    [-1, 1, 2, 1], [1, 1, 1, 1],
])  # 30 rows, 4 annotators, -1 missing
# fmt: on


def as_votes(annotations, k):
    n, m = annotations.shape
    rows, annotators = np.nonzero(annotations >= 0)
    columns = annotators * k + annotations[rows, annotators]
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n, m * k))


def simulate(seed, n=1000, k=5, m=50, per_row=3):
    """Annotators right on 30 to 95 % of the rows, with confusions of their own; -1 where they did not look."""
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    quality = rng.uniform(0.3, 0.95, m)
    confusions = np.stack(
        [
            [np.insert(rng.dirichlet(np.ones(k - 1)) * (1 - right), label, right) for label in range(k)]
            for right in quality
        ]
    )
    annotations = np.full((n, m), -1)
    for row in range(n):
        for annotator in rng.choice(m, per_row, replace=False):
            annotations[row, annotator] = rng.choice(k, p=confusions[annotator, y[row]])
    return annotations, y


def test_oracle_1_crowd_kit():
    """crowd-kit 1.4.2, ``DawidSkene(n_iter=3000, tol=1e-14)``, on these 30 rows."""
    result = consensus(SMALL, missing=-1, smoothing=0, max_iter=5000, tol=1e-13)
    np.testing.assert_allclose(result.soft_labels[10], [0.889339, 0, 0.110661], atol=1e-6)
    np.testing.assert_allclose(result.soft_labels[20], [0.355112, 0.21278, 0.432108], atol=1e-6)
    expected = [
        [[1, 0, 0], [0, 1, 0], [0.091709, 0, 0.908291]],
        [[1, 0, 0], [0.285714, 0.571429, 0.142857], [0, 0, 1]],
        [[0.472061, 0.157354, 0.370585], [0, 0.831857, 0.168143], [0.237189, 0.237189, 0.525623]],
        [[0.40788, 0.456161, 0.13596], [0.160959, 0.678083, 0.160959], [0, 0.288434, 0.711566]],
    ]
    np.testing.assert_allclose(result.confusion_matrices, expected, atol=1e-6)
    assert "".join(map(str, result.labels)) == "222212200002001222012110202111"
    assert np.delete(result.soft_labels, [10, 20], axis=0).max(axis=1).min() > 1 - 1e-6


@pytest.mark.parametrize("smoothing", [0, 2.0])
def test_oracle_2_one_round_by_hand(smoothing):
    k, (n, m) = 3, SMALL.shape
    shares = np.array([[np.sum(row == label) / np.sum(row >= 0) for label in range(k)] for row in SMALL])
    pooled = np.zeros((k, k))
    for i in range(n):
        for j in range(m):
            if SMALL[i, j] >= 0:
                pooled[:, SMALL[i, j]] += shares[i]
    pooled /= pooled.sum(axis=1, keepdims=True)
    soft = np.zeros((n, k))
    for i in range(n):
        for true in range(k):
            soft[i, true] = shares[:, true].mean()
            for j in range(m):
                if SMALL[i, j] < 0:
                    continue
                among = [t for t in range(n) if SMALL[t, j] >= 0]
                hits = sum(shares[t, true] for t in among if SMALL[t, j] == SMALL[i, j])
                total = sum(shares[t, true] for t in among)
                soft[i, true] *= (hits + smoothing * pooled[true, SMALL[i, j]]) / (total + smoothing)
    soft /= soft.sum(axis=1, keepdims=True)
    result = consensus(SMALL, missing=-1, smoothing=smoothing, max_iter=1)
    np.testing.assert_allclose(result.soft_labels, soft, atol=1e-12)
    assert result.n_iter == 1


@pytest.mark.parametrize("smoothing", [0, 5.0])
def test_every_round_raises_the_penalized_likelihood(smoothing):
    annotations, _ = simulate(0, n=300, m=20)
    votes = as_votes(annotations, 5)
    soft = votes @ np.tile(np.eye(5), (20, 1)) / 3
    pseudo = smoothing * average_annotator(votes, soft)
    heights = []
    for _ in range(40):
        prior, confusions = maximization(votes, soft, pseudo)
        soft, likelihood = expectation(votes, prior, confusions)
        heights.append(likelihood + (pseudo * np.log(np.maximum(confusions, 1e-300))).sum())
    assert (np.diff(heights) > -1e-8).all()
    assert heights[-1] > heights[0] + 1


def test_majority_counts_votes_and_breaks_ties_by_the_larger_class():
    annotations = [["a", "b", None], ["b", "b", "a"], ["c", "c", None], ["b", "c", "a"], ["b", None, None]]
    result = consensus(annotations, method="majority")
    assert result.labels.tolist() == ["b", "b", "c", "b", "b"]
    np.testing.assert_allclose(result.soft_labels[0], [0.5, 0.5, 0])
    np.testing.assert_allclose(result.soft_labels[1], [1 / 3, 2 / 3, 0])
    assert result.n_annotations.tolist() == [2, 3, 2, 3, 1]
    assert result.n_iter == 0
    # expected share of right labels, of annotator 0: rows 0 (1/2), 1 (2/3), 2 (1), 3 (1/3), 4 (1)
    assert result.annotator_quality_[0] == pytest.approx((1 / 2 + 2 / 3 + 1 + 1 / 3 + 1) / 5)


def test_qualities_are_found():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=4000)
    right = np.array([0.95, 0.8, 0.6, 0.5])
    wrong = (y[:, None] + rng.integers(1, 3, size=(4000, 4))) % 3
    annotations = np.where(rng.random((4000, 4)) < right, y[:, None], wrong)
    result = consensus(annotations)
    np.testing.assert_allclose(result.annotator_quality_, right, atol=0.02)
    np.testing.assert_allclose(
        result.confusion_matrices.diagonal(axis1=1, axis2=2), right[:, None] * np.ones(3), atol=0.05
    )
    np.testing.assert_allclose(result.class_prior, 1 / 3, atol=0.03)
    majority = consensus(annotations, method="majority")
    assert (result.labels == y).mean() > (majority.labels == y).mean() + 0.05


def test_an_annotator_who_swaps_two_classes_still_informs():
    rng = np.random.default_rng(1)
    y = rng.integers(2, size=500)
    guess = np.where(rng.random((500, 4)) < 0.7, y[:, None], 1 - y[:, None])
    annotations = np.column_stack([guess, 1 - y])  # the last one has the two names the wrong way round
    result = consensus(annotations)
    assert result.annotator_quality_[-1] < 0.1
    assert (result.labels == y).mean() > 0.97
    assert (consensus(annotations, method="majority").labels == y).mean() < 0.75


def test_smoothing_helps_where_annotators_have_few_labels():
    gains = []
    for seed in range(3):
        annotations, y = simulate(seed, m=200)  # some 15 labels each, for 25 confusions
        smooth, classic = (consensus(annotations, missing=-1, smoothing=s) for s in (5, 0))
        gains.append((smooth.labels == y).mean() - (classic.labels == y).mean())
    assert np.mean(gains) > 0.03


@given(st.integers(0, 100))
def test_names_of_classes_and_order_of_rows_and_annotators_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    names = rng.permutation(["ant", "bee", "cat"])
    rows, annotators = rng.permutation(30), rng.permutation(4)
    one = consensus(SMALL, missing=-1)
    renamed = np.where(SMALL >= 0, names[SMALL], None)[rows][:, annotators]
    other = consensus(renamed)
    order = np.argsort(names)
    np.testing.assert_allclose(other.soft_labels, one.soft_labels[rows][:, order], atol=1e-8)
    np.testing.assert_allclose(other.annotator_quality_, one.annotator_quality_[annotators], atol=1e-8)
    np.testing.assert_array_equal(other.labels, names[one.labels[rows]])


def test_every_way_to_say_missing():
    plain = consensus(SMALL, missing=-1)
    assert plain.labels.dtype.kind == "i"
    floats = np.where(SMALL < 0, np.nan, SMALL)
    frame = pd.DataFrame(SMALL).astype("Int64").mask(SMALL < 0)  # pandas.NA
    objects = [[None if label < 0 else int(label) for label in row] for row in SMALL]
    masked = np.ma.masked_array(SMALL, SMALL < 0)
    for annotations in floats, frame, pd.DataFrame(floats), objects, masked:
        result = consensus(annotations)
        np.testing.assert_array_equal(result.soft_labels, plain.soft_labels)
        np.testing.assert_array_equal(result.labels, plain.labels)
        assert result.labels.dtype == np.int64
    words = consensus(np.where(SMALL < 0, "?", np.array(["x", "y", "z"])[SMALL]), missing="?")
    assert words.classes.tolist() == ["x", "y", "z"]
    np.testing.assert_array_equal(words.soft_labels, plain.soft_labels)
    assert consensus([[0.5, 1.5], [0.5, np.nan]]).labels.tolist() == [0.5, 0.5]
    assert consensus([[True, True], [False, None]]).labels.tolist() == [True, False]


def test_shapes_and_edges():
    result = consensus(SMALL, missing=-1)
    assert result.soft_labels.shape == (30, 3)
    assert result.confusion_matrices.shape == (4, 3, 3)
    np.testing.assert_allclose(result.soft_labels.sum(axis=1), 1)
    np.testing.assert_allclose(result.confusion_matrices.sum(axis=2), 1)
    assert "30 rows, 3 classes, 4 annotators" in repr(result)
    single = consensus([[0], [1], [1]], smoothing=0)
    assert single.labels.tolist() == [0, 1, 1]
    idle = consensus(np.column_stack([SMALL, np.full(30, -1)]), missing=-1)
    assert np.isnan(idle.annotator_quality_[-1])
    np.testing.assert_array_equal(idle.soft_labels, result.soft_labels)


def test_input_is_left_alone():
    annotations = SMALL.copy()
    consensus(annotations, missing=-1)
    np.testing.assert_array_equal(annotations, SMALL)


@pytest.mark.parametrize(
    ("annotations", "params", "message"),
    [
        ([0, 1, 2], {}, r"must have shape \(n_samples, n_annotators\), got shape \(3,\)"),
        (np.empty((0, 3)), {}, r"annotations must not be empty, got shape \(0, 3\)"),
        (
            [[0, 1], [None, None], [np.nan, None]],
            {},
            "2 of 3 rows have no annotation, the first of them row 1; leave these rows out",
        ),
        ([[0, -1], [-1, -1]], {"missing": -1}, "1 of 2 rows have no annotation, the first of them row 1"),
        ([["a", "a"]], {}, "two or more classes, got only 'a'"),
        (SMALL, {"method": "glad"}, "method must be 'dawid_skene' or 'majority', got 'glad'"),
        (SMALL, {"smoothing": -1}, "smoothing must be a finite number of at least 0, got -1"),
        (SMALL, {"max_iter": 0}, "max_iter must be a finite number of at least 1, got 0"),
        (SMALL, {"tol": np.nan}, "tol must be a finite number of at least 0, got nan"),
    ],
)
def test_errors(annotations, params, message):
    with pytest.raises(ValueError, match=message):
        consensus(annotations, **params)


def test_mixed_labels():
    with pytest.raises(TypeError, match="mix labels that cannot be sorted"):
        consensus([["a", 1], ["b", 2]])


def test_soft_labels_train_a_classifier(blobs):
    X, y = blobs
    rng = np.random.default_rng(0)
    wrong = rng.permuted(np.tile(y[:, None], 3), axis=0)
    annotations = np.where(rng.random((200, 3)) < 0.75, y[:, None], wrong)
    result = consensus(annotations)
    clf = CrossEntropyClassifier(max_epochs=5, random_state=0, device="cpu")
    clf.fit(X, result.labels, soft_labels=result.soft_labels)
    np.testing.assert_array_equal(clf.classes_, result.classes)
    assert clf.score(X, y) > 0.9


@pytest.mark.slow
def test_news_labeled_by_three_people(data_home):
    """Dawid-Skene against the majority, on the 772 texts with an expert's label."""
    data = load_noisyag_crowd(data_home=data_home)
    known = data.y_train >= 0
    truth = data.y_train[known]
    accuracy = {}
    for method in "majority", "dawid_skene":
        result = consensus(data.extra["annotations"], method=method)
        accuracy[method] = (result.labels[known] == truth).mean()
    best = max((labels[known] == truth).mean() for labels in data.y_noisy.values())
    print(accuracy, best)
    assert accuracy["dawid_skene"] > accuracy["majority"] > best
    assert accuracy["dawid_skene"] == pytest.approx(0.810, abs=1e-3)
    assert accuracy["majority"] == pytest.approx(0.802, abs=1e-3)


@pytest.mark.slow
def test_soft_labels_of_three_people_train_better(data_home):
    """A network on three folds of two thirds, three seeds; accuracy on the experts' labels of the other third."""
    data = load_noisyag_crowd(data_home=data_home)
    annotations, X, truth = data.extra["annotations"], data.X_train, data.y_train
    accuracy = {"first annotator": [], "majority": [], "dawid_skene": [], "dawid_skene, soft": []}
    for seed in range(3):
        folds = StratifiedKFold(3, shuffle=True, random_state=seed).split(X, np.where(truth >= 0, truth, 4))
        for train, test in folds:
            known = test[truth[test] >= 0]
            majority, skilled = (consensus(annotations[train], method=m) for m in ("majority", "dawid_skene"))
            for name, labels, soft in (
                ("first annotator", annotations[train, 0], None),
                ("majority", majority.labels, None),
                ("dawid_skene", skilled.labels, None),
                ("dawid_skene, soft", skilled.labels, skilled.soft_labels),
            ):
                clf = CrossEntropyClassifier(max_epochs=15, random_state=seed, device="cpu")
                clf.fit(X[train], labels, soft_labels=soft)
                accuracy[name].append((clf.predict(X[known]) == truth[known]).mean())
    means = {name: np.reshape(values, (3, 3)).mean(axis=1) for name, values in accuracy.items()}  # of each seed
    print({name: f"{mean.mean():.3f} ± {mean.std(ddof=1):.3f}" for name, mean in means.items()})
    assert means["dawid_skene, soft"].mean() > means["majority"].mean() > means["first annotator"].mean()
