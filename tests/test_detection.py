"""Detectors: the contract on every one, what the default promises, and what is refused."""

import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, PredefinedSplit, ShuffleSplit, cross_validate
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator
from skorch.callbacks import Callback
from skorch.dataset import ValidSplit
from torch import nn

from robustlabels import (
    AutoNoiseDetector,
    ConfidentLearningNoiseDetector,
    CrossEntropyClassifier,
    ELRClassifier,
    EnsembleNoiseDetector,
    EstimatorNoiseDetector,
    InfluenceNoiseDetector,
    InfluentialRankClassifier,
    KNNNoiseDetector,
    LabelReport,
    SmallLossNoiseDetector,
    datasets,
    detection_report,
)
from robustlabels.detection import Beliefs, NoiseDetector, canonical_order, is_heavy_tailed
from robustlabels.image_files import ImagePaths
from robustlabels.maths.confident_joint import confident_joint, label_quality
from robustlabels.maths.functional import default_n_neighbors, most_votes, nearest_neighbors, two_pass_votes
from robustlabels.noise import PairNoise, SymmetricNoise
from tests.instances import DETECTORS

every_detector = pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: type(d).__name__)


def seeded(detector, **params):
    """A clone with a seed, where it takes one."""
    seed = {"random_state": 0} if "random_state" in detector.get_params() else {}
    return clone(detector).set_params(**seed, **params)


def auto(**params):
    return AutoNoiseDetector(**{"n_repeats": 1, "device": "cpu", "random_state": 0, **params})


@pytest.fixture(scope="module")
def flipped(blobs):
    """The blobs with a tenth of the labels wrong, and which."""
    X, y = blobs
    noise = SymmetricNoise(0.1, random_state=0)
    return X, noise.flip(y), noise.flip_mask_


# --- the contract -----------------------------------------------------------------------------------------------------


@every_detector
def test_check_estimator(detector):
    results = check_estimator(clone(detector), on_fail=None, on_skip=None)
    failed = [(r["check_name"], str(r["exception"])[:300]) for r in results if r["status"] == "failed"]
    assert failed == []
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}
    assert len(results) > 40


@every_detector
def test_every_row_is_described(detector, flipped):
    X, y, wrong = flipped
    d = seeded(detector).fit(X, y)
    n, k = len(y), 3
    assert d.noise_scores_.shape == d.noise_mask_.shape == d.suggested_labels_.shape == (n,)
    assert d.label_posterior_.shape == (n, k)
    np.testing.assert_allclose(d.label_posterior_.sum(1), 1, atol=1e-5)
    assert d.noise_scores_.min() >= 0
    assert d.noise_scores_.max() <= 1
    np.testing.assert_array_equal(d.noise_mask_, d.noise_scores_ > d.threshold_)
    np.testing.assert_array_equal(d.suggested_labels_[~d.noise_mask_], y[~d.noise_mask_])
    most = d.classes_[d.label_posterior_.argmax(1)]
    np.testing.assert_array_equal(d.suggested_labels_[d.noise_mask_], most[d.noise_mask_])
    column = np.searchsorted(d.classes_, d.suggested_labels_)
    np.testing.assert_array_equal(d.suggested_confidence_, d.label_posterior_[np.arange(n), column])
    np.testing.assert_allclose(d.transition_matrix_.sum(1), 1)
    low, high = d.noise_rate_interval_
    assert 0 <= low <= d.noise_rate_ <= high <= 1
    assert 0 <= d.wrong_probability_.min() <= d.wrong_probability_.max() <= 1
    assert detection_report(d.noise_scores_, wrong).roc_auc > 0.9


@every_detector
def test_refit_is_bit_identical_and_nothing_outside_moves(detector, flipped):
    X, y, _ = flipped
    X_before, y_before = X.copy(), y.copy()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    d = seeded(detector)
    first = d.fit(X, y).noise_scores_
    np.testing.assert_array_equal(first, d.fit(X, y).noise_scores_)
    np.testing.assert_array_equal(first, clone(d).fit(X, y).noise_scores_)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(y, y_before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)


@every_detector
def test_pickle_and_joblib_keep_what_was_learned(detector, flipped):
    X, y, _ = flipped
    d = seeded(detector).fit(X, y)
    buffer = io.BytesIO()
    joblib.dump(d, buffer)
    for again in pickle.loads(pickle.dumps(d)), joblib.load(io.BytesIO(buffer.getvalue())):
        np.testing.assert_array_equal(again.noise_scores_, d.noise_scores_)
        np.testing.assert_array_equal(again.score_labels(X[:40], y[:40]), d.score_labels(X[:40], y[:40]))


@every_detector
def test_new_rows_are_scored(detector, flipped):
    X, y, wrong = flipped
    d = seeded(detector).fit(X[:150], y[:150])
    scores = d.score_labels(X[150:], y[150:])
    assert scores.shape == (50,)
    assert detection_report(scores, wrong[150:]).roc_auc > 0.9
    again = d.score_labels(X[150:][::-1], y[150:][::-1])[::-1]
    np.testing.assert_allclose(scores, again, atol=1e-6)
    with pytest.raises(ValueError, match="fit did not see: 'dog'"):
        d.score_labels(X[:2], ["dog", "ant"])
    with pytest.raises(NotFittedError):
        clone(d).score_labels(X, y)


@every_detector
def test_flags_in_the_outlier_convention(detector, flipped):
    X, y, _ = flipped
    d = seeded(detector)
    flags = d.fit_predict(X, y)
    np.testing.assert_array_equal(flags, np.where(d.noise_mask_, -1, 1))


@every_detector
def test_transform_looks_and_changes_nothing(detector, flipped):
    X, y, _ = flipped
    d = seeded(detector).fit(X, y)
    assert d.transform(X) is X
    frame = pd.DataFrame(X, columns=list("abcde"))
    tensor = torch.from_numpy(X)
    assert d.transform(tensor) is tensor
    checked = d.transform(X.tolist())
    np.testing.assert_array_equal(checked, X)
    with pytest.raises(ValueError, match="NaN"):
        d.transform(np.where(X == X[0, 0], np.nan, X))
    with pytest.raises(ValueError, match="4 features"):
        d.transform(X[:, :4])
    named = seeded(detector).fit(frame, y)
    assert named.transform(frame) is frame
    assert list(named.get_feature_names_out()) == list("abcde")
    with pytest.raises(ValueError, match="feature names"):
        named.transform(frame[list("edcba")])
    np.testing.assert_allclose(named.noise_scores_, d.noise_scores_, atol=1e-9)


@every_detector
def test_sparse_rows_score_as_dense_ones(detector, flipped):
    X, y, _ = flipped
    sparse = scipy.sparse.csr_matrix(X)
    d = seeded(detector).fit(sparse, y)
    assert d.transform(sparse) is sparse
    if not isinstance(detector, (ConfidentLearningNoiseDetector, EnsembleNoiseDetector)):  # centered or not
        np.testing.assert_allclose(d.noise_scores_, seeded(detector).fit(X, y).noise_scores_, atol=1e-6)
    assert np.isfinite(d.score_labels(sparse[:9], y[:9])).all()
    with pytest.raises(ValueError, match="4 features"):
        d.transform(sparse[:, :4])
    broken = sparse.copy()
    broken.data[0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        d.transform(broken)
    for labels in (y[:-3], np.append(y, y[:3])):
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            d.score_labels(sparse, labels)
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            seeded(detector).fit(sparse, labels)
    wide = scipy.sparse.hstack([sparse, scipy.sparse.random(len(y), 800, 0.01, random_state=0)]).tocsr()
    d = seeded(detector).fit(wide, y)
    assert np.isfinite(d.score_labels(wide[:9], y[:9])).all()


@every_detector
def test_middle_step_of_a_pipeline_in_a_search(detector, flipped):
    X, y, _ = flipped
    pipe = make_pipeline(StandardScaler(), seeded(detector), LogisticRegression())
    step = pipe.steps[1][0]
    grid = GridSearchCV(pipe, {f"{step}__threshold": ["noise_rate", 0.5]}, cv=3, error_score="raise").fit(X, y)
    plain = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=3).fit(X, y)
    assert grid.best_score_ == plain.best_score_  # diagnostic only
    assert grid.best_estimator_[1].noise_scores_.shape == (len(y),)


@every_detector
def test_labels_of_other_folds_have_no_say(detector, flipped):
    X, y, _ = flipped
    train = np.arange(150)
    elsewhere = y.copy()
    elsewhere[150:] = elsewhere[150:][::-1]
    cv = [(train, np.arange(150, 200))]
    found = []
    for labels in (y, elsewhere):
        pipe = make_pipeline(seeded(detector), LogisticRegression())
        fitted = cross_validate(pipe, X, labels, cv=cv, return_estimator=True)["estimator"][0]
        found.append(fitted[0].noise_scores_)
    np.testing.assert_array_equal(*found)


@every_detector
def test_one_class_is_refused(detector, flipped):
    X, _, _ = flipped
    with pytest.raises(ValueError, match="2 classes"):
        seeded(detector).fit(X, np.zeros(len(X), dtype=int))
    with pytest.raises(ValueError, match="requires y"):
        seeded(detector).fit(X, None)
    with pytest.raises(ValueError, match="inconsistent"):
        seeded(detector).fit(X, np.arange(len(X) - 1) % 2)


# --- thresholds -------------------------------------------------------------------------------------------------------


class Given(NoiseDetector):
    """A detector that says what it is told: a posterior and, as keywords, what else makes beliefs."""

    def __init__(self, told=None, *, threshold="auto", noise_rate=None, quantile=None, alpha=0.1):
        super().__init__(threshold=threshold, noise_rate=noise_rate, quantile=quantile, alpha=alpha)
        self.told = told

    def _detect(self, X, y):
        posterior, more = self.told
        return Beliefs.from_posterior(posterior, y, self.classes_, **more)


def told(posterior, y, scores=None, **params):
    return Given((posterior, {"scores": scores}), **params).fit(np.zeros((len(y), 1)), y)


def test_every_threshold():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    score = np.where(np.arange(200) < 40, rng.uniform(0.7, 1, 200), rng.uniform(0, 0.2, 200))
    posterior = np.where(y[:, None] == [0, 1], 1 - score[:, None], score[:, None])
    assert told(posterior, y).noise_mask_.sum() == 40
    assert told(posterior, y, threshold="noise_rate", noise_rate=0.1).noise_mask_.sum() == 20
    estimated = told(posterior, y, threshold="noise_rate")
    assert estimated.noise_rate_ == pytest.approx(0.2, abs=0.02)
    assert estimated.noise_mask_.sum() == round(200 * estimated.noise_rate_)
    assert told(posterior, y, threshold="quantile", quantile=0.9).noise_mask_.sum() == 20
    assert told(posterior, y, threshold=0.85).threshold_ == 0.85
    promised = told(posterior, y, threshold="fdr", alpha=0.2)
    assert (1 - promised.wrong_probability_[promised.noise_mask_]).mean() <= 0.2
    assert 0 < promised.noise_mask_.sum() < 80
    for wrong, match in [
        ({"threshold": "best"}, "'best'"),
        ({"threshold": 1.5}, "threshold must be"),
        ({"threshold": "quantile"}, "needs quantile"),
        ({"noise_rate": 0.2}, "threshold='noise_rate'"),
        ({"threshold": "noise_rate", "noise_rate": 2}, "noise_rate must be"),
        ({"threshold": "fdr", "alpha": -1}, "alpha"),
    ]:
        with pytest.raises(ValueError, match=match):
            told(posterior, y, **wrong)


def test_fdr_warns_where_scores_do_not_separate():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=500)
    with pytest.warns(UserWarning, match="no row is flagged"):
        d = told(rng.dirichlet([2, 2], size=500), y, threshold="fdr")
    assert not d.noise_mask_.any()


def test_beliefs_that_do_not_fit_are_refused():
    y = np.arange(20) % 2
    half = np.full((20, 2), 0.5)
    for posterior, more, match in [
        (half, {"scores": np.full(19, 0.5)}, r"scores of shape \(19,\) for 20 rows"),
        (half, {"scores": np.full(20, np.nan)}, "gave nan to row 0"),
        (half, {"scores": np.full(20, 3.0)}, "gave 3.0 to row 0"),
        (half[:7], {}, "7 rows, but there are 20 labels"),
        (2 * half, {}, "row 0 sums to 2"),
        (np.full((20, 4), 0.25), {}, "4 classes, but y holds 2"),
        (half, {"held_out": half * np.nan}, "held_out must be non-negative rows"),
    ]:
        with pytest.raises(ValueError, match=match):
            Given((posterior, more)).fit(np.zeros((20, 1)), y)
    with pytest.raises(NotImplementedError, match="_detect"):
        NoiseDetector().fit(np.zeros((20, 1)), y)
    with pytest.raises(NotImplementedError, match="cannot score new rows"):
        told(half, y).score_labels(np.zeros((2, 1)), [0, 1])


def test_noise_rate_is_the_joints():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=400)
    posterior = rng.dirichlet([0.5] * 3, size=400)
    expected = 1 - np.trace(confident_joint(y, posterior)) / 400
    assert told(posterior, y).noise_rate_ == pytest.approx(expected)


# --- each of them -----------------------------------------------------------------------------------------------------


def test_knn_votes_are_those_of_moit(flipped):
    X, y, _ = flipped
    z = torch.nn.functional.normalize(torch.from_numpy(X), dim=1)
    labels = torch.from_numpy(np.unique(y, return_inverse=True)[1])
    k = default_n_neighbors(len(y), 3)
    first, second = two_pass_votes(nearest_neighbors(z, k), labels, 3)
    for passes, counts in (1, first), (2, second):
        d = KNNNoiseDetector(n_passes=passes, device="cpu").fit(X, y)
        np.testing.assert_allclose(d.label_posterior_, counts.numpy() / k)
    new = KNNNoiseDetector(n_neighbors=7, device="cpu").fit(X, y)
    similar = (z[:5] @ z.T).topk(7).indices  # a row of the training set is its own neighbor when it comes back
    votes = (
        torch.stack([torch.bincount(torch.from_numpy(new._labels)[row], minlength=3) for row in similar]).numpy() / 7
    )
    np.testing.assert_allclose(new._posterior(X[:5]), votes)
    np.testing.assert_array_equal(
        new._labels, most_votes(two_pass_votes(nearest_neighbors(z, 7), labels, 3)[0]).numpy()
    )


def test_knn_refuses_files_and_too_many_voters(flipped):
    X, y, _ = flipped
    with pytest.raises(TypeError, match="features, not files"):
        KNNNoiseDetector().fit(["a.png"] * len(y), y)
    with pytest.raises(ValueError, match="less than the 200 rows"):
        KNNNoiseDetector(200).fit(X, y)
    with pytest.raises(ValueError, match="n_passes"):
        KNNNoiseDetector(n_passes=3).fit(X, y)


@pytest.mark.parametrize("statistic", ["loss", "margin", "forgetting"])
def test_small_loss_statistics(digits, statistic):
    X, y, _, _, wrong = digits
    network = ELRClassifier(max_epochs=15, device="cpu")
    d = SmallLossNoiseDetector(network, statistic=statistic, random_state=0).fit(X, y)
    report = detection_report(d.noise_scores_, wrong, noise_mask=d.noise_mask_)
    assert report.average_precision > (0.7 if statistic == "forgetting" else 0.98)
    if statistic == "forgetting":
        with pytest.raises(ValueError, match="not trained on"):
            d.score_labels(X, y)
    else:
        assert report.estimated_rate == pytest.approx(0.4, abs=0.05)
        assert d.noise_rate_ == pytest.approx(0.4, abs=0.05)
        assert detection_report(d.score_labels(X, y), wrong).average_precision > 0.9


def test_small_loss_mixtures_and_unseen_rows(digits):
    from skorch.dataset import ValidSplit

    X, y, _, _, wrong = digits
    network = ELRClassifier(max_epochs=15, device="cpu", train_split=ValidSplit(0.2, random_state=0, stratified=True))
    d = SmallLossNoiseDetector(network, mixture="beta", random_state=0).fit(X, y)
    assert np.isfinite(d.noise_scores_).all()  # rows held out are scored by the final network
    assert detection_report(d.noise_scores_, wrong).average_precision > 0.95
    assert d.noise_mask_.mean() == pytest.approx(0.4, abs=0.1)


def test_what_small_loss_cannot_watch():
    X, y = np.zeros((10, 2)), np.arange(10) % 2
    for estimator in LogisticRegression(), InfluentialRankClassifier():
        with pytest.raises(TypeError, match="watches one of this package's classifiers"):
            SmallLossNoiseDetector(estimator).fit(X, y)
    with pytest.raises(TypeError, match="AutoNoiseDetector watches"):
        AutoNoiseDetector(LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match="statistic"):
        SmallLossNoiseDetector(statistic="area").fit(X, y)


def test_confident_learning_is_cleanlabs(flipped):
    from cleanlab.filter import find_label_issues

    X, y, _ = flipped
    numbers = np.unique(y, return_inverse=True)[1]
    d = ConfidentLearningNoiseDetector(quality="normalized_margin", random_state=0).fit(X, y)
    np.testing.assert_array_equal(d.label_issues_, find_label_issues(numbers, d.label_posterior_, n_jobs=1))
    np.testing.assert_array_equal(d.confident_joint_, confident_joint(numbers, d.label_posterior_))
    expected = 1 - label_quality(numbers, d.label_posterior_, method="normalized_margin")
    np.testing.assert_allclose(d.noise_scores_, expected, atol=1e-6)
    assert d.noise_rate_ == pytest.approx(1 - np.trace(d.confident_joint_) / len(y))
    np.testing.assert_allclose(d.transition_matrix_, d.confident_joint_.T / d.confident_joint_.sum(0)[:, None])


def test_confident_learning_never_scores_a_row_by_a_model_that_saw_its_fold(flipped):
    X, y, _ = flipped
    fold = np.arange(len(y)) % 4
    changed = y.copy()
    changed[fold == 0] = np.roll(changed[fold == 0], 1)
    one, other = (
        ConfidentLearningNoiseDetector(cv=PredefinedSplit(fold)).fit(X, labels).label_posterior_
        for labels in (y, changed)
    )
    np.testing.assert_array_equal(one[fold == 0], other[fold == 0])
    assert not np.array_equal(one[fold == 1], other[fold == 1])


def test_confident_learning_takes_what_the_classifier_takes(flipped):
    X, y, wrong = flipped
    table = pd.DataFrame({"number": X[:, 0], "word": np.array(["low", "high"])[(X[:, 1] > 0).astype(int)]})
    pipe = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression())
    d = ConfidentLearningNoiseDetector(pipe, random_state=0).fit(table, y)
    assert d.transform(table) is table
    assert d.score_labels(table[:3], y[:3]).shape == (3,)
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    boosting = HistGradientBoostingClassifier(max_iter=20)
    d = ConfidentLearningNoiseDetector(boosting, random_state=0).fit(holes, y)
    assert detection_report(d.noise_scores_, wrong).roc_auc > 0.85
    assert d.transform(holes) is holes
    ours = ConfidentLearningNoiseDetector(CrossEntropyClassifier(max_epochs=3, device="cpu"), cv=2, random_state=0)
    assert ours.fit(X, y).label_posterior_.shape == (200, 3)


TEXTS = ["goal match team", "bank stock rate", "moon star ship"]


@pytest.mark.parametrize("container", [list, np.array, lambda t: pd.Series(t, index=range(60, 120))])
def test_confident_learning_hands_texts_to_the_pipeline(container):
    y = np.arange(60) % 3
    texts = container([TEXTS[k] for k in y])
    y[7] = 2
    pipe = make_pipeline(TfidfVectorizer(), LogisticRegression())
    d = ConfidentLearningNoiseDetector(pipe, random_state=0).fit(texts, y)
    assert d.noise_scores_.argmax() == 7
    assert d.transform(texts) is texts
    np.testing.assert_array_equal(d.score_labels(texts[6:8], y[6:8]) > 0.5, [False, True])
    parts = [("folds", ConfidentLearningNoiseDetector(pipe))]
    assert EnsembleNoiseDetector(parts, random_state=0).fit(texts, y).noise_scores_.argmax() == 7
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        d.fit(texts, y[:-1])


def test_confident_learning_leaves_files_and_numbers_to_the_classifier(tmp_path):
    y = np.arange(12) % 2
    paths = [tmp_path / f"{i}.png" for i in range(12)]
    for path, label in zip(paths, y, strict=True):
        Image.new("RGB", (20, 20), "white" if label else "black").save(path)
    clf = ELRClassifier(max_epochs=1, image_size=16, device="cpu")
    d = ConfidentLearningNoiseDetector(clf, cv=2, random_state=0).fit(paths, y)
    assert d.estimators_[0].input_shape_ == (3, 16, 16)
    tokens = torch.arange(24).reshape(12, 2) % 7
    clf = ELRClassifier(Bag, dtype=None, max_epochs=1, device="cpu")
    d = ConfidentLearningNoiseDetector(clf, cv=2, random_state=0).fit(tokens, y)
    assert d.estimators_[0].input_integers_


def test_confident_learning_refuses_folds_that_do_not_work(flipped):
    X, y, _ = flipped
    rare = np.where(np.arange(len(y)) < 3, "rare", "a")
    rare[100:] = "b"
    with pytest.raises(ValueError, match=r"class 'rare' has 3 row\(s\), fewer than the 5 folds; take cv=3"):
        ConfidentLearningNoiseDetector().fit(X, rare)
    with pytest.raises(ValueError, match="every row must be in one test fold"):
        ConfidentLearningNoiseDetector(cv=ShuffleSplit(3, random_state=0)).fit(X, y)
    with pytest.raises(TypeError, match="LinearSVC does not have"):
        ConfidentLearningNoiseDetector(LinearSVC()).fit(X, y)
    calibrated = CalibratedClassifierCV(LinearSVC(), cv=2)
    assert ConfidentLearningNoiseDetector(calibrated, cv=2).fit(X, y).noise_scores_.shape == (200,)
    ordered = np.sort(y)  # a class that a fold's model has never seen
    d = ConfidentLearningNoiseDetector(KNeighborsClassifier(), cv=KFold(3)).fit(X, ordered)
    np.testing.assert_allclose(d.label_posterior_.sum(1), 1)

    class Unsure(LogisticRegression):
        def predict_proba(self, X):
            return 2 * super().predict_proba(X)

    with pytest.raises(ValueError, match="predict_proba of Unsure must be non-negative rows that sum to one"):
        ConfidentLearningNoiseDetector(Unsure()).fit(X, y)


def test_estimator_detector_repeats_the_classifier(flipped):
    X, y, _ = flipped
    clf = ELRClassifier(max_epochs=5, device="cpu", random_state=3)
    d = EstimatorNoiseDetector(clf).fit(X, y)
    alone = clone(clf).fit(X, y)
    np.testing.assert_allclose(d.noise_scores_, alone.noise_scores_)
    np.testing.assert_allclose(d.label_posterior_, alone.soft_labels_, atol=1e-6)
    assert not hasattr(clf, "net_")
    frozen = EstimatorNoiseDetector(FrozenEstimator(alone)).fit(X, y)
    np.testing.assert_array_equal(frozen.noise_scores_, d.noise_scores_)
    assert frozen.estimator_ is not alone
    with pytest.raises(ValueError, match="scored 200 rows when it was fitted, but X has 100"):
        EstimatorNoiseDetector(FrozenEstimator(alone)).fit(X[:100], y[:100])
    with pytest.raises(ValueError, match="fitted on other labels"):
        EstimatorNoiseDetector(FrozenEstimator(alone)).fit(X, np.roll(y, 1))
    with pytest.raises(NotFittedError):
        EstimatorNoiseDetector(FrozenEstimator(clf)).fit(X, y)
    with pytest.raises(TypeError, match="leaves no noise_scores_"):
        EstimatorNoiseDetector(LogisticRegression()).fit(X, y)


def test_estimator_detector_takes_classifiers_around_classifiers(flipped):
    X, y, wrong = flipped
    inner = CrossEntropyClassifier(max_epochs=8, device="cpu")
    d = EstimatorNoiseDetector(InfluentialRankClassifier(inner, max_rounds=1), random_state=0).fit(X, y)
    np.testing.assert_array_equal(d.noise_scores_, d.estimator_.noise_scores_)
    assert detection_report(d.noise_scores_, wrong).roc_auc > 0.8


def test_influence_detector_ranks_by_influential_rank(flipped):
    from robustlabels.maths.influence_functions import influence_scores

    X, y, wrong = flipped
    numbers = np.unique(y, return_inverse=True)[1]
    found = influence_scores(X, numbers, 3)
    d = InfluenceNoiseDetector(random_state=0).fit(X, y)
    np.testing.assert_allclose(d.noise_scores_, found.rank.numpy())
    np.testing.assert_allclose(d.label_posterior_, found.head.proba(X).numpy())
    assert 0 < d.noise_mask_.sum() <= wrong.sum() + 5
    assert wrong[d.noise_mask_].mean() > 0.8
    network = CrossEntropyClassifier(max_epochs=5, device="cpu")
    own = InfluenceNoiseDetector(network, random_state=0).fit(X, y)
    frozen = InfluenceNoiseDetector(FrozenEstimator(own.estimator_), random_state=0).fit(X, y)
    np.testing.assert_array_equal(own.noise_scores_, frozen.noise_scores_)
    for params in {"damping": 0}, {"rank_by": "row"}, {"data_weight": 2}, {"max_reference": 0}:
        with pytest.raises(ValueError, match=next(iter(params))):
            InfluenceNoiseDetector(**params).fit(X, y)
    with pytest.raises(TypeError, match="no transform"):
        InfluenceNoiseDetector(KNeighborsClassifier()).fit(X, y)
    alone = InfluenceNoiseDetector(data_weight=0, rank_by="class").fit(X, y)
    assert alone.influence_data_.max() == 0
    assert detection_report(alone.score_labels(X, y), wrong).roc_auc > 0.9


def test_ensemble_is_the_geometric_mean(flipped):
    X, y, _ = flipped
    parts = [("knn", KNNNoiseDetector(device="cpu")), ("folds", ConfidentLearningNoiseDetector(cv=3, random_state=0))]
    d = EnsembleNoiseDetector(parts).fit(X, y)
    a, b = (clone(part).fit(X, y).label_posterior_ + 1e-3 for _, part in parts)
    product = np.sqrt(a / a.sum(1, keepdims=True) * b / b.sum(1, keepdims=True))
    np.testing.assert_allclose(d.label_posterior_, product / product.sum(1, keepdims=True))
    ranks = EnsembleNoiseDetector(parts, combine="rank").fit(X, y)
    each = [pd.Series(part.noise_scores_).rank().to_numpy() - 0.5 for part in ranks.detectors_]
    np.testing.assert_allclose(ranks.noise_scores_, np.mean(each, axis=0) / len(y))
    assert ranks.score_labels(X, y).shape == (200,)


def test_ensemble_parts_by_name(flipped):
    X, y, _ = flipped
    d = EnsembleNoiseDetector([("knn", KNNNoiseDetector()), ("more", InfluenceNoiseDetector())])
    assert d.get_params()["knn__n_passes"] == 2
    d.set_params(knn__n_passes=1, more=KNNNoiseDetector(9), combine="rank")
    assert [part.n_neighbors for _, part in d.detectors] == ["auto", 9]
    assert clone(d).get_params()["knn__n_passes"] == 1
    assert "random_state=0" in repr(EnsembleNoiseDetector(random_state=0))
    for wrong in [], [("a", KNNNoiseDetector()), ("a", KNNNoiseDetector())], "knn":
        with pytest.raises(ValueError, match="pairs of different names"):
            EnsembleNoiseDetector(wrong).fit(X, y)
    with pytest.raises(TypeError, match="a must be a NoiseDetector"):
        EnsembleNoiseDetector([("a", LogisticRegression())]).fit(X, y)


# --- the default ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """Three hundred digits, a quarter of the labels wrong."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    X = X[:300].astype(np.float32) + rng.normal(scale=0.01, size=(300, 64)).astype(np.float32)
    noise = SymmetricNoise(0.25, random_state=0)
    return X, noise.flip(y[:300]), noise.flip_mask_


def test_auto_permuting_rows_permutes_scores(small):
    X, y, _ = small
    order = np.random.default_rng(1).permutation(len(y))
    one, other = auto().fit(X, y), auto().fit(X[order], y[order])
    np.testing.assert_allclose(one.noise_scores_[order], other.noise_scores_, atol=1e-6)
    np.testing.assert_allclose(one.label_posterior_[order], other.label_posterior_, atol=1e-6)
    assert one.noise_rate_ == pytest.approx(other.noise_rate_)


def test_auto_names_of_classes_have_no_say(small):
    X, y, _ = small
    names = np.random.default_rng(1).permutation(10)
    one, other = auto().fit(X, y), auto().fit(X, names[y])
    np.testing.assert_allclose(one.noise_scores_, other.noise_scores_, atol=1e-6)
    np.testing.assert_allclose(one.label_posterior_, other.label_posterior_[:, names], atol=1e-6)
    np.testing.assert_array_equal(names[one.suggested_labels_], other.suggested_labels_)


def test_auto_is_the_formula_of_its_notes(small):
    X, y, _ = small
    d = auto(transition_weight=0.0, prior_exponent=0.0).fit(X, y)
    np.testing.assert_allclose(d.noise_scores_, 1 - d.label_posterior_[np.arange(300), y])
    d = auto(transition_weight=0.0).fit(X, y)
    q = d.label_posterior_ * (np.bincount(y) / 300) ** -0.5
    np.testing.assert_allclose(d.noise_scores_, 1 - (q / q.sum(1, keepdims=True))[np.arange(300), y])
    d = auto().fit(X, y)
    assert 0 <= d.transition_weight_ <= 1
    flips = np.empty((10, 10))
    flips[np.ix_(d._order, d._order)] = 0.98 * d._flips + 0.002
    q = d.label_posterior_ * (np.bincount(y) / 300) ** -0.5 * flips.T[y] ** d.transition_weight_
    np.testing.assert_allclose(d.noise_scores_, 1 - (q / q.sum(1, keepdims=True))[np.arange(300), y])


def test_auto_neutral_with_a_vote_that_says_nothing_ranks_by_the_network_alone(small, monkeypatch):
    from robustlabels.detection import auto as page

    X, y, _ = small
    monkeypatch.setattr(page, "shares", lambda counts: np.full(counts.shape, 1 / counts.shape[1]))
    d = auto(prior_exponent=0.0, transition_weight=0.0).fit(X, y)
    monkeypatch.undo()
    seen = []
    watched = page.fit_watched
    monkeypatch.setattr(page, "fit_watched", lambda *a: seen.append(watched(*a)) or seen[-1])
    full = auto(prior_exponent=0.0, transition_weight=0.0).fit(X, y)
    rows, order = canonical_order(X, y)
    a = np.empty((300, 10))
    a[np.ix_(rows, order)] = seen[0].mean("proba").numpy()
    root = np.sqrt((a + 1e-3) / (a + 1e-3).sum(1, keepdims=True))
    np.testing.assert_allclose(d.noise_scores_, 1 - (root / root.sum(1, keepdims=True))[np.arange(300), y], atol=1e-9)
    assert not np.allclose(d.noise_scores_, full.noise_scores_)


def test_auto_tells_copies_with_different_labels_apart(small):
    X, y, _ = small
    other = (y[:20] + 1) % 10
    d = auto().fit(np.vstack([X, X[:20]]), np.concatenate([y, other]))
    assert (np.abs(d.noise_scores_[:20] - d.noise_scores_[300:]) > 1e-6).all()


@pytest.mark.parametrize("case", ["two classes", "thirty rows", "a class of one row", "strings", "constant columns"])
def test_auto_takes_small_and_odd_data(small, case):
    X, y, _ = small
    if case == "two classes":
        y = y % 2
    elif case == "thirty rows":
        X, y = X[:30], y[:30]
    elif case == "a class of one row":
        y = np.where(np.arange(300) == 7, 99, y)
    elif case == "strings":
        y = np.array([f"digit {k}" for k in y], dtype=object)
    else:
        X = np.where(np.arange(64) < 60, 1.0, X)
    d = auto().fit(X, y)
    assert np.isfinite(d.noise_scores_).all()
    assert d.noise_scores_.shape == y.shape
    assert d.score_labels(X[:3], y[:3]).shape == (3,)


def test_auto_straightens_heavy_tails():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    X = np.exp(2.5 * (rng.normal(size=(400, 6)) + 1.2 * y[:, None]))
    noise = SymmetricNoise(0.2, random_state=0)
    d = auto().fit(X, noise.flip(y))
    assert d.heavy_tailed_
    assert detection_report(d.noise_scores_, noise.flip_mask_).roc_auc > 0.93
    same = auto().fit(X**3, noise.flip(y))  # quantiles do not see a monotone change of scale
    np.testing.assert_allclose(d.noise_scores_, same.noise_scores_, atol=1e-4)
    assert not auto().fit(np.log(X), noise.flip(y)).heavy_tailed_
    assert not is_heavy_tailed(np.ones((10, 3)))


def test_auto_finds_pairs_and_leaves_right_labels_alone(digits):
    X, y, _, _, wrong = digits
    true = y.copy()
    d = auto().fit(X, y)
    report = detection_report(d.noise_scores_, wrong, noise_mask=d.noise_mask_)
    assert report.average_precision > 0.99
    assert d.noise_rate_ == pytest.approx(0.4, abs=0.03)
    true = d.suggested_labels_  # nearly all right
    noise = PairNoise(0.3, random_state=0)
    pairs = auto().fit(X, noise.flip(true))
    without = auto(transition_weight=0.0).fit(X, noise.flip(true))
    found, plain = (detection_report(p.noise_scores_, noise.flip_mask_).average_precision for p in (pairs, without))
    assert found > plain
    assert pairs.transition_weight_ > 0.9
    assert auto().fit(X, true).noise_mask_.mean() < 0.03


@pytest.mark.parametrize("make", [auto, SmallLossNoiseDetector, EstimatorNoiseDetector], ids=lambda m: m.__name__)
def test_images_in_every_container(make, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    X = rng.integers(0, 60, size=(24, 8, 8, 3), dtype=np.uint8) + (150 * y[:, None, None, None]).astype(np.uint8)
    y[5] = 0
    paths = []
    for i, image in enumerate(X):
        paths.append(str(tmp_path / f"{i:02d}.png"))
        Image.fromarray(image).save(paths[-1])
    network = ELRClassifier(max_epochs=4, image_size=8, precision="float32", device="cpu")
    found = []
    for container in (X, X.transpose(0, 3, 1, 2).copy(), paths, ImagePaths(paths, size=8)):
        d = make(estimator=clone(network), random_state=0).fit(container, y)
        found.append(d.noise_scores_)
        assert d.transform(container) is container or isinstance(container, list)
        assert d.score_labels(container, y).shape == (24,)
    for scores in found[1:]:
        np.testing.assert_allclose(found[0], scores, atol=1e-4)


def test_auto_images_take_the_networks_own_features():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = rng.normal(size=(40, 1, 8, 8)).astype(np.float32) + 2 * y[:, None, None, None]
    d = auto().fit(X, y)
    assert not d.heavy_tailed_
    assert d._rows.shape == (40, d.estimators_[0].transform(X).shape[1])
    with pytest.raises(ValueError, match="rows of shape"):
        d.transform(X[:, :, :4])


# --- real labels ------------------------------------------------------------------------------------------------------


REAL = {
    "aggre": (lambda: datasets.load_cifar10_features(), "aggre"),
    "random1": (lambda: datasets.load_cifar10_features(), "random1"),
    "worse": (lambda: datasets.load_cifar10_features(), "worse"),
    "news": (lambda: datasets.load_noisyag_news(), "human"),
    "trec": (lambda: datasets.load_trec(), "majority_vote"),
    "jira": (lambda: datasets.load_jira_defects(), "heuristic"),
}


def real(name, seed, rows=6000):
    load, source = REAL[name]
    data = load()
    given, true = data.y_noisy[source], data.y_train
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero((given >= 0) & (true >= 0)))[:rows]
    return data.X_train[chosen].astype(np.float32), given[chosen], given[chosen] != true[chosen]


@pytest.mark.slow
@pytest.mark.usefixtures("data_home")
@pytest.mark.parametrize("name", REAL)
def test_the_default_beats_confident_learning_on_real_labels(name):
    margins = []
    for seed in range(2):
        X, y, wrong = real(name, seed)
        ours = AutoNoiseDetector(device="cpu", random_state=seed).fit(X, y)
        folds = ConfidentLearningNoiseDetector(random_state=seed).fit(X, y)
        margins.append(
            detection_report(ours.noise_scores_, wrong).average_precision
            - detection_report(folds.noise_scores_, wrong).average_precision
        )
    assert min(margins) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("data_home")
@pytest.mark.parametrize("name", ["aggre", "random1", "worse", "news"])
def test_fdr_promises_little_on_real_labels_and_keeps_it(name):
    X, y, wrong = real(name, 0)
    d = AutoNoiseDetector(device="cpu", random_state=0, threshold="fdr", alpha=0.2).fit(X, y)
    assert (~wrong[d.noise_mask_]).mean() <= 0.2 if d.noise_mask_.any() else name == "news"
    low, high = d.noise_rate_interval_
    assert low < wrong.mean()
    assert high > wrong.mean() or name == "news"


@pytest.mark.slow
@pytest.mark.usefixtures("data_home")
@pytest.mark.parametrize("name", ["trec", "jira"])
def test_fdr_warns_on_labels_that_cannot_be_told(name):
    X, y, _ = real(name, 0)
    with pytest.warns(UserWarning, match="no row is flagged"):
        AutoNoiseDetector(device="cpu", random_state=0, threshold="fdr", alpha=0.1).fit(X, y)


@pytest.mark.slow
@pytest.mark.usefixtures("data_home")
def test_the_average_over_epochs_has_not_memorized():
    X, y, wrong = real("worse", 0, rows=10_000)
    network = ELRClassifier(device="cpu")
    averaged = SmallLossNoiseDetector(network, random_state=0).fit(X, y)
    last = CrossEntropyClassifier(device="cpu", random_state=0).fit(X, y).noise_scores_
    ap = detection_report(averaged.noise_scores_, wrong).average_precision
    assert ap > 0.88
    assert ap > detection_report(last, wrong).average_precision + 0.1


@pytest.mark.parametrize("detector", [auto(), SmallLossNoiseDetector(random_state=0)], ids=["auto", "small loss"])
def test_training_is_recorded_for_reports(detector, flipped):
    X, y, wrong = flipped
    detector = clone(detector).fit(X, y)
    history = LabelReport.from_estimator(detector, X, y).beliefs.history
    assert history.shape[1] == len(X)
    late = history[-5:].astype(float).mean(0)  # rows in the order of X: wrong labels are believed less
    assert np.median(late[wrong]) < 0.2 < 0.8 < np.median(late[~wrong])


class FirstFitStops(Callback):
    """Ends the first of all fits after three epochs, as skorch's EarlyStopping would."""

    n_fits = 0

    def on_train_begin(self, net, **kwargs):
        FirstFitStops.n_fits += 1

    def on_epoch_end(self, net, **kwargs):
        if FirstFitStops.n_fits == 1 and len(net.history) == 3:
            raise KeyboardInterrupt


def test_networks_that_stop_early_are_recorded_as_far_as_all_go(small):
    X, y, _ = small
    network = ELRClassifier(max_epochs=5, train_split=ValidSplit(5), callbacks=[FirstFitStops()])
    detector = auto(estimator=network, n_repeats=2).fit(X, y)
    assert [clf.n_iter_ for clf in detector.estimators_] == [3, 5]
    assert detector.proba_history_.shape == (3, len(X))
    trained_on = np.isfinite(detector.proba_history_).mean(1)
    assert ((trained_on > 0.4) & (trained_on < 1)).all()  # no curve for rows of either validation split
    assert (detector.noise_scores_ <= 1).all()


# --- tokens -----------------------------------------------------------------------------------------------------------


class Bag(nn.Module):
    """Means of embedded tokens."""

    def __init__(self, n_classes):
        super().__init__()
        self.embed, self.head = nn.Embedding(40, 8), nn.Linear(8, n_classes)

    def forward(self, x):
        return self.head(self.embed(x).mean(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda clf: AutoNoiseDetector(clf, n_repeats=1, random_state=0),
        lambda clf: SmallLossNoiseDetector(clf, random_state=0),
        lambda clf: EstimatorNoiseDetector(clf, random_state=0),
        lambda clf: InfluenceNoiseDetector(clf, random_state=0),
        lambda clf: EnsembleNoiseDetector([("small_loss", SmallLossNoiseDetector(clf, random_state=0))]),
    ],
    ids=["auto", "small loss", "estimator", "influence", "ensemble"],
)
def test_tokens_reach_a_network_of_ones_own(make):
    """Class k speaks tokens 20 k to 20 k + 19; one label in ten is the other one's."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.integers(0, 20, (200, 6)) + 20 * y[:, None]
    noise = SymmetricNoise(0.1, random_state=0)
    labels = noise.flip(y)
    clf = ELRClassifier(Bag, dtype=None, max_epochs=20, batch_size=20, optimizer="adamw", lr=0.02)
    detector = make(clf).fit(X, labels)
    assert detection_report(detector.noise_scores_, noise.flip_mask_).average_precision > 0.9
    assert detector.score_labels(X[:5], labels[:5]).shape == (5,)
    with pytest.raises(ValueError, match="whole numbers"):
        detector.score_labels(X[:5] + 0.5, labels[:5])
