"""Repair: by hand, at its limits, in scikit-learn's and imbalanced-learn's pipelines and searches, and refused."""

import pickle
from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
import torch
from imblearn.pipeline import Pipeline as ResamplingPipeline
from imblearn.utils import estimator_checks as imblearn_checks
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    PredefinedSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator

from robustlabels import (
    ConfidentLearningNoiseDetector,
    CrossEntropyClassifier,
    KNNNoiseDetector,
    NoiseAwareClassifier,
    NoiseFilter,
)
from robustlabels.cleaning import protected_rows, repair
from robustlabels.noise import SymmetricNoise
from robustlabels.training.beliefs import Beliefs
from tests.instances import CLEANERS


class Oracle(BaseEstimator):
    """A detector that was told the scores; writes a line to a file whenever it is fitted."""

    def __init__(self, scores=None, threshold=0.5, suggested=None, confidence=None, log=None, random_state=None):
        self.scores = scores
        self.threshold = threshold
        self.suggested = suggested
        self.confidence = confidence
        self.log = log
        self.random_state = random_state

    def fit(self, X, y):
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(f"{self.threshold} {self.random_state}\n")
        scores = np.zeros(len(y)) if self.scores is None else self.scores
        self.noise_scores_ = np.asarray(scores, dtype=float)
        self.noise_mask_ = self.noise_scores_ > self.threshold
        self.suggested_labels_ = np.asarray(y if self.suggested is None else self.suggested)
        self.suggested_confidence_ = np.ones(len(y)) if self.confidence is None else np.asarray(self.confidence)
        self.noise_rate_ = float(self.noise_mask_.mean())
        return self


class Distance(BaseEstimator):
    """A detector that looks at the data: how near a row is to the mean of its class, against the nearest other."""

    def __init__(self, threshold=0.5, log=None, random_state=None):
        self.threshold = threshold
        self.log = log
        self.random_state = random_state

    def fit(self, X, y):
        if self.log is not None:
            with Path(self.log).open("a") as file:
                file.write(f"{self.threshold} {self.random_state}\n")
        X = X.toarray() if scipy.sparse.issparse(X) else np.asarray(X, dtype=float).reshape(len(y), -1)
        classes, codes = np.unique(y, return_inverse=True)
        means = np.stack([X[codes == k].mean(axis=0) for k in range(len(classes))])
        near = np.exp(-0.5 * ((X[:, None] - means) ** 2).mean(axis=2))  # (n, K)
        posterior = near / near.sum(axis=1, keepdims=True)
        best = posterior.argmax(axis=1)
        self.noise_scores_ = 1 - posterior[np.arange(len(y)), codes] / posterior.max(axis=1)
        self.noise_mask_ = self.noise_scores_ > self.threshold
        self.suggested_labels_ = np.where(self.noise_mask_, classes[best], y)
        self.suggested_confidence_ = posterior.max(axis=1)
        return self


@pytest.fixture
def noisy(blobs):
    """The blobs with 30 % of the labels wrong; the clean labels and which are flipped besides."""
    X, y = blobs
    noise = SymmetricNoise(0.3, random_state=0)
    return X, noise.flip(y), y, noise.flip_mask_


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def known(noisy, **params):
    """A detector that knows the flips and the right labels."""
    _, _, y, flips = noisy
    return Oracle(np.where(flips, 0.9, 0.1), suggested=y, **params)


# --- the three strategies ---------------------------------------------------------------------------------------------


def test_drop_fits_on_the_rows_that_are_left(noisy):
    X, y_noisy, _, flips = noisy
    clf = NoiseAwareClassifier(LogisticRegression(), known(noisy)).fit(X, y_noisy)
    by_hand = LogisticRegression().fit(X[~flips], y_noisy[~flips])
    np.testing.assert_array_equal(clf.predict_proba(X), by_hand.predict_proba(X))
    np.testing.assert_array_equal(clf.decision_function(X), by_hand.decision_function(X))
    np.testing.assert_array_equal(clf.kept_mask_, ~flips)
    np.testing.assert_array_equal(clf.noise_mask_, flips)
    np.testing.assert_array_equal(clf.repaired_labels_, y_noisy)
    np.testing.assert_array_equal(clf.row_weights_, ~flips)
    assert clf.noise_rate_ == pytest.approx(0.3)
    assert clf.n_features_in_ == 5


def test_weight_gives_each_row_one_minus_its_score(noisy):
    X, y_noisy, _, flips = noisy
    clf = NoiseAwareClassifier(LogisticRegression(), known(noisy), strategy="weight").fit(X, y_noisy)
    weights = np.where(flips, 0.1, 0.9)
    by_hand = LogisticRegression().fit(X, y_noisy, sample_weight=weights)
    np.testing.assert_allclose(clf.predict_proba(X), by_hand.predict_proba(X), atol=1e-12)
    np.testing.assert_allclose(clf.row_weights_, weights)
    assert clf.kept_mask_.all()


def test_relabel_fits_on_the_suggested_labels(noisy):
    X, y_noisy, y, flips = noisy
    clf = NoiseAwareClassifier(LogisticRegression(), known(noisy), strategy="relabel").fit(X, y_noisy)
    np.testing.assert_array_equal(clf.predict_proba(X), LogisticRegression().fit(X, y).predict_proba(X))
    np.testing.assert_array_equal(clf.repaired_labels_, y)
    confidence = np.linspace(0, 1, len(y))
    sure = NoiseAwareClassifier(
        LogisticRegression(), known(noisy, confidence=confidence), strategy="relabel", relabel_confidence=0.5
    ).fit(X, y_noisy)
    np.testing.assert_array_equal(sure.kept_mask_, ~flips | (confidence >= 0.5))
    np.testing.assert_array_equal(sure.repaired_labels_, np.where(flips & (confidence >= 0.5), y, y_noisy))


def test_limits(noisy):
    """Nothing suspicious: the plain classifier. Scores of 0 and 1: weighing is dropping."""
    X, y_noisy, _, flips = noisy
    plain = LogisticRegression().fit(X, y_noisy).predict_proba(X)
    for strategy in "drop", "weight", "relabel":
        same = NoiseAwareClassifier(LogisticRegression(), Oracle(), strategy=strategy).fit(X, y_noisy)
        np.testing.assert_allclose(same.predict_proba(X), plain, atol=1e-12)
    hard = Oracle(flips.astype(float))
    drop, weight = (
        NoiseAwareClassifier(LogisticRegression(), hard, strategy=s).fit(X, y_noisy) for s in ("drop", "weight")
    )
    np.testing.assert_allclose(weight.predict_proba(X), drop.predict_proba(X), atol=1e-12)
    np.testing.assert_array_equal(weight.kept_mask_, drop.kept_mask_)
    never = NoiseAwareClassifier(
        LogisticRegression(), known(noisy, confidence=np.zeros(200)), strategy="relabel", relabel_confidence=0.5
    )
    np.testing.assert_array_equal(never.fit(X, y_noisy).predict_proba(X), drop.predict_proba(X))


def test_repair_pays(digits):
    X, y_noisy, X_test, y_test, _ = digits
    inner = DecisionTreeClassifier(min_samples_leaf=5, random_state=0)  # learns many labels by heart
    plain = clone(inner).fit(X, y_noisy).score(X_test, y_test)
    for strategy in "drop", "weight", "relabel":
        clf = NoiseAwareClassifier(clone(inner), KNNNoiseDetector(), strategy=strategy).fit(X, y_noisy)
        assert clf.score(X_test, y_test) > plain + 0.15, strategy


@pytest.mark.slow
def test_the_defaults_on_digits(tmp_path):
    """AutoNoiseDetector around cross-entropy, 40 % wrong labels, three seeds; one detection serves three strategies."""
    accuracy = {"none": [], "drop": [], "weight": [], "relabel": []}
    for seed in range(3):
        X, X_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=seed, test_size=0.3)
        y_noisy = SymmetricNoise(0.4, random_state=seed).flip(y)
        for strategy, results in accuracy.items():
            clf = NoiseAwareClassifier(strategy=strategy, memory=str(tmp_path), random_state=seed)
            clf = CrossEntropyClassifier(random_state=seed) if strategy == "none" else clf
            results.append(clf.fit(X, y_noisy).score(X_test, y_test))
    print({name: f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" for name, values in accuracy.items()})
    assert min(map(np.mean, list(accuracy.values())[1:])) > np.mean(accuracy["none"]) + 0.15
    assert len(list(tmp_path.rglob("output.pkl"))) == 3


# --- a class never disappears -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["drop", "weight", "relabel"])
@pytest.mark.parametrize("least", [1, 3])
def test_a_class_never_disappears(strategy, least):
    rng = np.random.default_rng(0)
    y = np.repeat(["rare", "some", "most"], [2, 20, 60])
    X = rng.normal(size=(82, 3))
    everything = Oracle(np.ones(82), suggested=np.full(82, "most"))
    clf = NoiseAwareClassifier(LogisticRegression(), everything, strategy=strategy, min_per_class=least).fit(X, y)
    assert clf.classes_.tolist() == clf.estimator_.classes_.tolist() == ["most", "rare", "some"]
    assert clf.predict_proba(X).shape == (82, 3)
    for name, there in ("rare", 2), ("some", 20), ("most", 60):
        rows = clf.kept_mask_ & (clf.repaired_labels_ == name) & (y == name)
        assert rows.sum() >= min(least, there), name
        assert (clf.row_weights_[rows] > 0).all()


def test_protected_rows_are_the_least_suspicious():
    rng = np.random.default_rng(0)
    scores, y = rng.random(60).round(1), rng.integers(3, size=60)
    for least in 1, 2, 7, 100:
        protected = protected_rows(scores, y, least)
        for label in range(3):
            rows = np.flatnonzero(y == label)
            expected = rows[np.argsort(scores[rows], kind="stable")[:least]]
            np.testing.assert_array_equal(np.flatnonzero(protected & (y == label)), np.sort(expected))


def test_protected_rows_weigh_at_least_the_mean():
    scores = np.array([0.0, 0.2, 0.1, 0.99, 1.0])
    y = np.array([0, 0, 0, 1, 1])
    half = np.full((5, 2), 0.5)
    beliefs = Beliefs.from_posterior(half, y, np.arange(2), scores=scores)
    weights = repair(beliefs, y, "weight").weights
    np.testing.assert_allclose(weights, [1, 0.8, 0.9, np.mean(1 - scores), 0])
    np.testing.assert_allclose(repair(replace(beliefs, noise_scores=np.ones(5)), y, "weight").weights, [1, 0, 0, 1, 0])


def test_random_labels_leave_every_class_in_every_fold():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(4, size=60)
    clf = NoiseAwareClassifier(GaussianNB(), Distance(threshold=0.01), min_per_class=2)
    proba = cross_val_predict(clf, X, y, cv=StratifiedKFold(5), method="predict_proba")
    assert proba.shape == (60, 4)
    assert np.isfinite(proba).all()


# --- nothing leaks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["drop", "weight", "relabel"])
def test_a_fold_depends_on_no_label_of_its_own(noisy, strategy):
    X, y_noisy, _, _ = noisy
    rng = np.random.default_rng(0)
    fold = np.arange(200) % 4
    clf = make_pipeline(
        StandardScaler(), NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector(), strategy=strategy)
    )
    proba = cross_val_predict(clf, X, y_noisy, cv=PredefinedSplit(fold), method="predict_proba")
    for held_out in range(4):
        other = y_noisy.copy()
        other[fold == held_out] = rng.permutation(other[fold == held_out])
        again = cross_val_predict(clf, X, other, cv=PredefinedSplit(fold), method="predict_proba")
        np.testing.assert_array_equal(again[fold == held_out], proba[fold == held_out])
        assert not np.array_equal(again, proba)


def test_memory_does_not_leak_between_folds(noisy, tmp_path):
    X, y_noisy, _, _ = noisy
    clf = NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector())
    plain = cross_val_predict(clf, X, y_noisy, cv=4, method="predict_proba")
    kept = clone(clf).set_params(memory=str(tmp_path))
    for _ in range(2):  # the second time from the disk
        np.testing.assert_array_equal(cross_val_predict(kept, X, y_noisy, cv=4, method="predict_proba"), plain)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_cleaning_before_the_split_is_optimistic():
    """The mistake that having the detector inside prevents: the difficult rows are gone from the test folds as well."""
    X, y = load_digits(return_X_y=True)
    inner = LogisticRegression(C=0.01, max_iter=200)
    for detector, optimism in (KNNNoiseDetector(), 0), (ConfidentLearningNoiseDetector(inner, random_state=0), 0.02):
        inside, before = [], []
        for seed in range(3):
            y_noisy = SymmetricNoise(0.4, random_state=seed).flip(y)
            cv = StratifiedKFold(3, shuffle=True, random_state=seed)
            clf = NoiseAwareClassifier(inner, detector)
            inside.append((cross_val_predict(clf, X, y_noisy, cv=cv) == y).mean())
            kept = clf.fit(X, y_noisy).kept_mask_
            before.append((cross_val_predict(inner, X[kept], y_noisy[kept], cv=cv) == y[kept]).mean())
        means = {
            name: f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for name, v in (("in", inside), ("before", before))
        }
        print(type(detector).__name__, means)
        assert np.mean(before) > np.mean(inside) + optimism


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path, lambda path: joblib.Memory(path, verbose=0)])
def test_a_search_over_the_classifier_detects_once_a_fold(noisy, tmp_path, kind):
    X, y_noisy, _, _ = noisy
    log = tmp_path / "fits.txt"
    clf = NoiseAwareClassifier(LogisticRegression(), Distance(log=str(log)), memory=kind(tmp_path / "memory"))
    grid = {"estimator__C": [0.1, 1.0], "strategy": ["drop", "weight", "relabel"], "min_per_class": [1, 5]}
    search = GridSearchCV(clf, grid, cv=3, error_score="raise").fit(X, y_noisy)
    assert len(log.read_text().splitlines()) == 3 + 1  # 36 fits and the refit
    search.set_params(param_grid={"detector__threshold": [0.4, 0.5], "estimator__C": [10.0]}).fit(X, y_noisy)
    assert len(log.read_text().splitlines()) == 4 + 3 + (search.best_params_["detector__threshold"] == 0.4)
    without = GridSearchCV(clone(clf).set_params(memory=None, detector__log=None), grid, cv=3).fit(X, y_noisy)
    with_memory = GridSearchCV(clf, grid, cv=3).fit(X, y_noisy)
    np.testing.assert_array_equal(with_memory.cv_results_["mean_test_score"], without.cv_results_["mean_test_score"])


def test_memory_and_seeds(noisy, tmp_path):
    X, y_noisy, _, _ = noisy
    log = tmp_path / "fits.txt"

    def seeds():
        return [line.split()[1] for line in log.read_text().splitlines()]

    clf = NoiseAwareClassifier(
        DecisionTreeClassifier(), Distance(log=str(log)), memory=str(tmp_path / "memory"), random_state=3
    )
    clf.fit(X, y_noisy)
    assert clf.detector_.random_state is not None
    assert clf.estimator_.random_state is not None
    clone(clf).set_params(estimator__max_depth=3, strategy="weight").fit(X, y_noisy)
    assert len(seeds()) == 1  # the detector's seed does not depend on the classifier
    clone(clf).set_params(random_state=4).fit(X, y_noisy)
    assert len(set(seeds())) == 2
    clone(clf).set_params(random_state=None).fit(X, y_noisy)
    clone(clf).set_params(random_state=None, estimator__max_depth=3).fit(X, y_noisy)
    assert seeds()[2:] == ["None"]
    clone(clf).set_params(random_state=None, detector__random_state=7).fit(X, y_noisy)
    assert seeds()[3:] == ["7"]


def test_memory_of_networks_hits_again(noisy, tmp_path):
    """A module instance among the parameters is compared by its weights."""
    X, y_noisy, _, _ = noisy
    net = torch.nn.Sequential(torch.nn.Linear(5, 3))
    detector = CrossEntropyClassifier(net, max_epochs=2, device="cpu")  # any estimator with noise scores detects
    clf = NoiseAwareClassifier(GaussianNB(), detector, memory=str(tmp_path), random_state=0)
    first = clf.fit(X, y_noisy).detector_
    second = clone(clf).set_params(estimator=LogisticRegression()).fit(X, y_noisy).detector_
    np.testing.assert_array_equal(first.noise_scores_, second.noise_scores_)
    assert len(list(tmp_path.rglob("output.pkl"))) == 1


# --- pipelines and searches -------------------------------------------------------------------------------------------


def test_grid_search_over_everything_in_two_processes(noisy, tmp_path):
    X, y_noisy, y, _ = noisy
    pipe = Pipeline(
        [("scale", StandardScaler()), ("clf", NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector()))]
    )
    grid = [
        {"clf__detector__n_neighbors": [5, 15], "clf__strategy": ["drop", "weight", "relabel"]},
        {
            "clf__detector": [
                ConfidentLearningNoiseDetector(random_state=0),
                make_pipeline(StandardScaler(), Distance()),
            ],
            "clf__memory": [str(tmp_path)],
        },
        {"clf__estimator": [GaussianNB(), DecisionTreeClassifier(max_depth=3, random_state=0)]},
        {"clf__estimator__C": [0.01, 1.0], "clf__min_per_class": [2]},
    ]
    two = GridSearchCV(pipe, grid, cv=2, n_jobs=2, error_score="raise").fit(X, y_noisy)
    one = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(X, y_noisy)
    np.testing.assert_array_equal(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])
    assert two.best_estimator_.score(X, y) > 0.8
    assert two.best_estimator_["clf"].noise_scores_.shape == (200,)


def test_halving_search_and_cross_val_predict(noisy):
    X, y_noisy, y, _ = noisy
    clf = NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector(), random_state=0)
    halving = HalvingGridSearchCV(
        clf, {"estimator__C": [0.01, 0.1, 1.0], "strategy": ["drop", "relabel"]}, cv=3, n_jobs=2, random_state=0,
        min_resources=60, error_score="raise",
    )  # fmt: skip
    assert halving.fit(X, y_noisy).best_estimator_.score(X, y) > 0.8
    predicted = cross_val_predict(clf, X, y_noisy, cv=4)
    assert predicted.dtype == y.dtype
    assert (predicted == y).mean() > 0.8


@pytest.mark.parametrize("enabled", [False, True])
def test_filter_in_imbalanced_learns_pipeline(noisy, enabled):
    X, y_noisy, y, flips = noisy
    with sklearn.config_context(enable_metadata_routing=enabled):
        pipe = ResamplingPipeline(
            [("scale", StandardScaler()), ("filter", NoiseFilter(known(noisy))), ("clf", LogisticRegression())]
        )
        pipe.fit(X, y_noisy)
        by_hand = make_pipeline(StandardScaler().fit(X), LogisticRegression())
        by_hand[-1].fit(by_hand[0].transform(X[~flips]), y_noisy[~flips])
        np.testing.assert_array_equal(pipe.predict_proba(X), by_hand.predict_proba(X))
        np.testing.assert_array_equal(pipe["filter"].sample_indices_, np.flatnonzero(~flips))
        pipe.set_params(filter=NoiseFilter(KNNNoiseDetector()))
        grid = {"filter__detector__n_neighbors": [5, 15], "filter": [NoiseFilter(KNNNoiseDetector())]}
        search = GridSearchCV(pipe, grid, cv=3, n_jobs=2, error_score="raise").fit(X, y_noisy)
        assert search.score(X, y) > 0.8
        assert (cross_val_predict(pipe, X, y_noisy, cv=3) == y).mean() > 0.8


def test_filter_keeps_containers(noisy):
    X, y_noisy, _, flips = noisy
    rows = np.flatnonzero(~flips)
    resampler = NoiseFilter(known(noisy))
    frame, series = pd.DataFrame(X, index=np.arange(200) + 7), pd.Series(y_noisy, index=np.arange(200) + 7)
    X_kept, y_kept = resampler.fit_resample(frame, series)
    assert X_kept.index.tolist() == y_kept.index.tolist() == (rows + 7).tolist()
    X_kept, y_kept = resampler.fit_resample(scipy.sparse.coo_array(X), y_noisy.tolist())
    np.testing.assert_array_equal(X_kept.toarray(), X[rows])
    assert y_kept == y_noisy[rows].tolist()
    X_kept, _ = resampler.fit_resample(torch.from_numpy(X), y_noisy)
    assert torch.equal(X_kept, torch.from_numpy(X[rows]))
    images = np.zeros((200, 4, 4, 3), dtype=np.uint8)
    assert resampler.fit_resample(images, y_noisy)[0].shape == (len(rows), 4, 4, 3)
    assert not hasattr(resampler, "transform")
    assert not hasattr(NoiseAwareClassifier(), "fit_resample")


# --- any X ------------------------------------------------------------------------------------------------------------


def test_sparse_rows(noisy):
    X, y_noisy, _, _ = noisy
    clf = NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector())
    dense = clone(clf).fit(X, y_noisy)
    for sparse in scipy.sparse.csr_array(X), scipy.sparse.csr_matrix(X), scipy.sparse.coo_array(X):
        fitted = clone(clf).fit(sparse, y_noisy)
        np.testing.assert_allclose(fitted.noise_scores_, dense.noise_scores_, atol=1e-5)
        np.testing.assert_array_equal(fitted.predict(sparse), dense.predict(X))
    pipe = make_pipeline(StandardScaler(with_mean=False), clf)
    assert cross_val_score(pipe, scipy.sparse.csr_array(X), y_noisy, error_score="raise").mean() > 0.5


def test_a_table_of_mixed_columns(noisy):
    """Neither the detector nor the classifier takes the frame as it is; each has a pipeline of its own."""
    X, y_noisy, y, _ = noisy
    frame = pd.DataFrame(X, columns=list("abcde"))
    frame["kind"] = np.where(X[:, 0] > 1, "big", "small")
    table = ColumnTransformer([("numbers", StandardScaler(), list("abcde")), ("kind", OneHotEncoder(), ["kind"])])
    clf = NoiseAwareClassifier(
        make_pipeline(table, LogisticRegression()), make_pipeline(clone(table), KNNNoiseDetector())
    )
    clf.fit(frame, y_noisy)
    assert clf.score(frame, y) > 0.8
    assert clf.feature_names_in_.tolist() == [*"abcde", "kind"]
    assert clf.noise_scores_.shape == (200,)
    grid = {
        "estimator__logisticregression__C": [0.1, 1.0],
        "detector__knnnoisedetector__n_neighbors": [5, 10],
        "strategy": ["drop", "weight"],
    }
    search = GridSearchCV(clf, grid, cv=3, n_jobs=2, error_score="raise").fit(frame, pd.Series(y_noisy))
    assert search.score(frame, y) > 0.8


def test_paths_images_tensors_and_lists(noisy, tmp_path):
    X, y_noisy, y, _ = noisy
    paths = []
    for i, row in enumerate(X):
        paths.append(tmp_path / f"{i:03d}.npy")
        np.save(paths[-1], row)
    load = FunctionTransformer(lambda paths: np.stack([np.load(path) for path in paths]))
    files = NoiseAwareClassifier(make_pipeline(load, LogisticRegression()), make_pipeline(load, KNNNoiseDetector()))
    plain = NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector()).fit(X, y_noisy)
    for kind in list, np.array, pd.Series:
        np.testing.assert_array_equal(files.fit(kind(paths), y_noisy).predict_proba(paths), plain.predict_proba(X))
    np.testing.assert_allclose(
        clone(plain).fit(X.tolist(), y_noisy.tolist()).predict_proba(X), plain.predict_proba(X), atol=1e-4
    )
    flat = FunctionTransformer(lambda images: np.asarray(images).reshape(len(images), -1))
    images = np.tile(X[:, None, None], (1, 2, 2, 1))
    stacked = NoiseAwareClassifier(make_pipeline(flat, LogisticRegression()), make_pipeline(flat, KNNNoiseDetector()))
    for four in images, torch.from_numpy(images):
        predicted = cross_val_predict(stacked, four, y_noisy, cv=3)
        assert (predicted == y).mean() > 0.8


def test_networks_of_ours(noisy):
    X, y_noisy, y, _ = noisy
    clf = NoiseAwareClassifier(detector=KNNNoiseDetector(), random_state=0)
    assert type(clf._inner()) is CrossEntropyClassifier
    clf.set_params(estimator=CrossEntropyClassifier(max_epochs=5, device="cpu"), strategy="weight").fit(X, y_noisy)
    assert clf.score(X, y) > 0.8
    assert clf.transform(X).shape[0] == 200
    assert clf.noise_scores_.shape == (200,)  # the detector's, of all rows, not the network's
    np.testing.assert_array_equal(clf.noise_scores_, clf.detector_.noise_scores_)
    assert clone(clf).set_params(strategy="drop").fit(X, y_noisy).noise_scores_.shape == (200,)


# --- parameters of fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("strategy", ["drop", "weight", "relabel"])
def test_sample_weight_is_carried_through(noisy, strategy, enabled):
    X, y_noisy, y, flips = noisy
    mine = np.random.default_rng(0).random(200)
    weights = mine * {"drop": ~flips, "weight": np.where(flips, 0.1, 0.9), "relabel": 1}[strategy]
    labels = y if strategy == "relabel" else y_noisy
    by_hand = LogisticRegression().fit(X, labels, sample_weight=weights).predict_proba(X)
    with sklearn.config_context(enable_metadata_routing=enabled):
        inner = LogisticRegression()
        if enabled:
            inner.set_fit_request(sample_weight=True)
        for estimator in inner, make_pipeline(FunctionTransformer(), inner):
            clf = NoiseAwareClassifier(estimator, known(noisy), strategy=strategy)
            clf.fit(X, y_noisy, sample_weight=mine)
            np.testing.assert_allclose(clf.predict_proba(X), by_hand, atol=1e-6)
            assert clf.row_weights_.max() <= 1
        if not enabled:
            clf.fit(X, y_noisy, logisticregression__sample_weight=mine)
            np.testing.assert_allclose(clf.predict_proba(X), by_hand, atol=1e-6)


@pytest.mark.parametrize("strategy", ["drop", "weight", "relabel"])
def test_sample_weight_has_one_entry_per_row_given(noisy, strategy):
    X, y_noisy, _, _ = noisy
    clf = NoiseAwareClassifier(LogisticRegression(), known(noisy), strategy=strategy)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[200, 3\]"):
        clf.fit(X, y_noisy, sample_weight=np.ones(3))


@pytest.mark.usefixtures("routing")
def test_routing_through_a_search(noisy):
    X, y_noisy, _, _ = noisy
    weight = np.where(y_noisy == "ant", 0.0, 1.0)
    inner = LogisticRegression().set_fit_request(sample_weight=True)
    clf = NoiseAwareClassifier(inner, KNNNoiseDetector())
    pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clf)
    scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
    grid = {"noiseawareclassifier__strategy": ["drop", "weight"]}
    search = GridSearchCV(pipe, grid, cv=3, scoring=scorer, error_score="raise")
    search.fit(X, y_noisy, sample_weight=weight)
    assert (search.predict(X) == "ant").mean() < 0.05
    with pytest.raises(ValueError, match="sample_weight.*not explicitly set"):
        NoiseAwareClassifier(LogisticRegression(), KNNNoiseDetector()).fit(X, y_noisy, sample_weight=weight)


@pytest.mark.usefixtures("routing")
def test_routing_reaches_the_detector(noisy):
    X, y_noisy, _, flips = noisy

    class Told(Oracle):
        def fit(self, X, y, hint=None):
            self.scores = np.asarray(hint, dtype=float)
            return super().fit(X, y)

    told = Told().set_fit_request(hint="flips")
    clf = NoiseAwareClassifier(LogisticRegression(), told).fit(X, y_noisy, flips=flips)
    np.testing.assert_array_equal(clf.kept_mask_, ~flips)
    folds = cross_val_score(clf, X, y_noisy, params={"flips": flips}, cv=3, error_score="raise")
    assert len(folds) == 3


@pytest.mark.usefixtures("routing")
def test_weights_of_our_own_need_no_request_of_the_user(noisy):
    X, y_noisy, _, _ = noisy
    pipe = make_pipeline(FunctionTransformer(), LogisticRegression())
    clf = NoiseAwareClassifier(pipe, known(noisy), strategy="weight").fit(X, y_noisy)
    plain = NoiseAwareClassifier(LogisticRegression(), known(noisy), strategy="weight").fit(X, y_noisy)
    np.testing.assert_allclose(clf.predict_proba(X), plain.predict_proba(X), atol=1e-12)
    assert pipe[-1].get_metadata_routing().fit.requests["sample_weight"] is None  # the user's own is left alone


def test_weights_reach_a_search_inside(noisy):
    X, y_noisy, _, _ = noisy
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    search = GridSearchCV(pipe, {"logisticregression__C": [0.1, 1.0]}, cv=3, error_score="raise")
    clf = NoiseAwareClassifier(search, known(noisy), strategy="weight", min_per_class=5).fit(X, y_noisy)
    weights = np.where(noisy[3], 0.1, 0.9)
    by_hand = clone(search).fit(X, y_noisy, logisticregression__sample_weight=weights)
    np.testing.assert_allclose(clf.predict_proba(X), by_hand.predict_proba(X), atol=1e-6)


def test_soft_labels_follow_the_kept_rows(noisy):
    X, y_noisy, y, flips = noisy
    soft = (y[:, None] == np.unique(y)).astype(np.float32)
    inner = CrossEntropyClassifier(max_epochs=3, random_state=0, device="cpu")
    clf = NoiseAwareClassifier(inner, known(noisy)).fit(X, y_noisy, soft_labels=soft)
    by_hand = clone(inner).fit(X[~flips], y_noisy[~flips], soft_labels=soft[~flips])
    np.testing.assert_array_equal(clf.predict_proba(X), by_hand.predict_proba(X))
    with pytest.raises(ValueError, match='strategy="relabel" changes labels, which soft_labels would contradict'):
        clf.set_params(strategy="relabel").fit(X, y_noisy, soft_labels=soft)


def test_refused_parameters(noisy):
    X, y_noisy, _, _ = noisy
    votes = NoiseAwareClassifier(KNeighborsClassifier(), Oracle())
    with pytest.raises(TypeError, match="sample_weight cannot reach KNeighborsClassifier, whose fit does not take it"):
        votes.fit(X, y_noisy, sample_weight=np.ones(200))
    assert votes.fit(X, y_noisy, sample_weight=None).kept_mask_.all()
    for estimator in KNeighborsClassifier(), make_pipeline(StandardScaler(), KNeighborsClassifier()):
        clf = NoiseAwareClassifier(estimator, Oracle(), strategy="weight")
        with pytest.raises(TypeError, match='strategy="weight" needs .* and KNeighborsClassifier does not; use "drop"'):
            clf.fit(X, y_noisy)
    with pytest.raises(TypeError, match=r"LogisticRegression.fit takes no weight"):
        NoiseAwareClassifier(LogisticRegression(), Oracle()).fit(X, y_noisy, weight=np.ones(200))


# --- bad detectors, bad values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"strategy": "remove"}, r"strategy must be 'drop', 'relabel' or 'weight', got 'remove'"),
        ({"min_per_class": 0}, r"min_per_class must be an integer in \[1, inf\), got 0"),
        ({"relabel_confidence": 1.5}, r"relabel_confidence must be a number in \[0, 1\], got 1.5"),
        ({"detector": Oracle(np.zeros(3))}, r"of Oracle must .* each of the 200 rows of X, got shape \(3,\)"),
        ({"detector": Oracle(np.zeros((200, 2)))}, r"got shape \(200, 2\)"),
        ({"detector": Oracle(np.full(200, np.nan))}, r"must lie in \[0, 1\], got nan in row 0"),
        ({"detector": Oracle(np.full(200, -3.0))}, r"must lie in \[0, 1\], got -3 in row 0"),
        ({"detector": Oracle(suggested=["dog"] * 200)}, r"must be among the classes .*, got 'dog' in row 0"),
        ({"detector": Oracle(confidence=np.ones(7))}, r"suggested_confidence_ of Oracle must have .*got shape \(7,\)"),
    ],
)  # fmt: skip
def test_clear_errors(noisy, params, message):
    X, y_noisy, _, _ = noisy
    clf = NoiseAwareClassifier(**{"estimator": GaussianNB(), "detector": Oracle(), **params})
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y_noisy)
    with pytest.raises(NotFittedError):
        clf.predict(X)
    if "detector" in params:
        with pytest.raises(ValueError, match=message):
            NoiseFilter(params["detector"]).fit_resample(X, y_noisy)


def test_what_is_no_detector(noisy):
    X, y_noisy, _, _ = noisy
    with pytest.raises(TypeError, match="GaussianNB is not a noise detector: it has no noise_scores_ after fit"):
        NoiseAwareClassifier(GaussianNB(), GaussianNB()).fit(X, y_noisy)
    with pytest.raises(TypeError, match="StandardScaler is not a noise detector"):
        NoiseFilter(make_pipeline(KNNNoiseDetector(), StandardScaler())).fit_resample(X, y_noisy)

    class Silent(Oracle):
        def fit(self, X, y):
            super().fit(X, y)
            del self.suggested_labels_
            return self

    clf = NoiseAwareClassifier(GaussianNB(), Silent(np.ones(200)))
    assert clf.fit(X, y_noisy).kept_mask_.sum() == 3
    with pytest.raises(TypeError, match='"relabel" needs a detector with suggested_labels_; use "drop" or "weight"'):
        clf.set_params(strategy="relabel").fit(X, y_noisy)


def test_bad_data(noisy):
    X, y_noisy, _, _ = noisy
    for estimator in NoiseAwareClassifier(GaussianNB(), Oracle()), NoiseFilter(Oracle()):
        with pytest.raises(ValueError, match="requires y to be passed"):
            estimator.fit(X, None)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            estimator.fit(X[:50], y_noisy)
        with pytest.raises(ValueError, match="Unknown label type"):
            estimator.fit(X, np.linspace(0, 1, 200))


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", CLEANERS, ids=lambda e: "-".join(map(str, vars(e).values()))[:60])
def test_check_estimator(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [(r["check_name"], str(r["exception"])[:300]) for r in results if r["status"] not in ("passed", "skipped")]
    assert failed == []
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}
    assert len(results) > 30


@pytest.mark.parametrize(
    "check",
    [
        imblearn_checks.check_target_type,
        imblearn_checks.check_samplers_fit_resample,
        imblearn_checks.check_samplers_sparse,
        imblearn_checks.check_samplers_pandas,
        imblearn_checks.check_samplers_list,
        imblearn_checks.check_samplers_2d_target,
        imblearn_checks.check_samplers_preserve_dtype,
        imblearn_checks.check_dataframe_column_names_consistency,
    ],
)
def test_imbalanced_learns_checks_of_samplers(check):
    """Those that do not ask for imbalanced-learn's base class or its sampling_strategy."""
    check("NoiseFilter", NoiseFilter(KNNNoiseDetector()))


def test_seeds_refits_and_pickles(noisy):
    X, y_noisy, _, _ = noisy
    before = X.copy(), y_noisy.copy()
    detector, inner = Distance(), DecisionTreeClassifier(max_features=1)
    clf = NoiseAwareClassifier(inner, detector, random_state=0)
    first = clf.fit(X, y_noisy).predict_proba(X)
    np.testing.assert_array_equal(clf.fit(X, y_noisy).predict_proba(X), first)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clf)).predict_proba(X), first)
    assert not np.array_equal(clone(clf).set_params(random_state=1).fit(X, y_noisy).predict_proba(X), first)
    assert (clf.estimator, clf.detector) == (inner, detector)
    assert not hasattr(detector, "noise_scores_")
    assert not hasattr(inner, "tree_")
    assert inner.random_state is None
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y_noisy, before[1])
    state = np.random.get_state()[1].copy()
    clf.fit(X, y_noisy)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_a_refit_forgets_the_last_one(noisy):
    X, y_noisy, _, _ = noisy
    frame = pd.DataFrame(X, columns=list("abcde"))
    for estimator in NoiseAwareClassifier(GaussianNB(), KNNNoiseDetector()), NoiseFilter(KNNNoiseDetector()):
        assert estimator.fit(frame, y_noisy).feature_names_in_.tolist() == list("abcde")
        assert not hasattr(estimator.fit(X, y_noisy), "feature_names_in_")
        assert hasattr(estimator, "transition_matrix_")
        assert not hasattr(estimator.set_params(detector=Oracle()).fit(X, y_noisy), "transition_matrix_")


def test_only_what_the_classifier_answers():
    clf = NoiseAwareClassifier(LogisticRegression())
    assert hasattr(clf, "decision_function")
    assert not hasattr(clf, "transform")
    assert not hasattr(NoiseAwareClassifier(GaussianNB()), "decision_function")
    assert hasattr(NoiseAwareClassifier(), "transform")
