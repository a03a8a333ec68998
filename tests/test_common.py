"""The contract, on every class: scikit-learn's checks and our own."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from robustlabels import CrossEntropyClassifier, ELRClassifier
from tests.instances import CLASSIFIERS, CLEANERS, DETECTORS, META_CLASSIFIERS, expected_failed_checks

every_classifier = pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda e: type(e).__name__)
with_the_meta = pytest.mark.parametrize("estimator", [*CLASSIFIERS, *META_CLASSIFIERS], ids=lambda e: type(e).__name__)


def inner(estimator):
    """Where an estimator keeps the parameters of its network: "", or "estimator__" for one around another."""
    return "" if "max_epochs" in estimator.get_params() else "estimator__"


def small(estimator, **params):
    """A seeded clone of a few epochs."""
    params = {"max_epochs": 3, "device": "cpu", **params}
    return clone(estimator).set_params(random_state=0, **{inner(estimator) + k: v for k, v in params.items()})


@with_the_meta
def test_check_estimator(estimator):
    estimator = clone(estimator).set_params(**{inner(estimator) + "device": "cpu"})
    expected = expected_failed_checks(estimator)
    results = check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None)
    failed = [(r["check_name"], str(r["exception"])[:300]) for r in results if r["status"] == "failed"]
    assert failed == []
    assert {r["check_name"] for r in results if r["status"] == "xfail"} <= set(expected)
    assert {r["check_name"] for r in results if r["status"] == "skipped"} <= {"check_array_api_input"}
    assert len(results) > 40


@with_the_meta
def test_every_row_is_described(estimator, blobs):
    X, y = blobs
    clf = small(estimator).fit(X, y)
    n, k = len(y), 3
    assert clf.noise_scores_.shape == clf.noise_mask_.shape == clf.suggested_labels_.shape == (n,)
    assert np.isfinite(clf.noise_scores_).all()
    assert clf.noise_scores_.min() >= 0
    assert clf.noise_scores_.max() <= 1
    assert clf.noise_mask_.dtype == bool
    assert set(clf.suggested_labels_) <= {"ant", "bee", "cat"}
    np.testing.assert_array_equal(clf.suggested_labels_[~clf.noise_mask_], y[~clf.noise_mask_])
    assert clf.transition_matrix_.shape == (k, k)
    np.testing.assert_allclose(clf.transition_matrix_.sum(1), 1)
    assert 0 <= clf.noise_rate_ <= 1
    if not inner(clf):
        assert len(clf.history_) == clf.n_iter_ > 0


def separable(share, *, n=300, seed=0):
    """Three classes far apart, and labels of which exactly this share is wrong."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = (rng.normal(size=(n, 5)) + 8 * np.eye(3, 5)[y]).astype(np.float32)
    wrong = rng.permutation(n)[: round(share * n)]
    y[wrong] = (y[wrong] + rng.integers(1, 3, size=len(wrong))) % 3
    return X, y


@pytest.mark.parametrize("share", [0.0, 0.2])
@pytest.mark.parametrize(
    "estimator",
    [*CLASSIFIERS, *META_CLASSIFIERS, *CLEANERS, *DETECTORS],
    ids=lambda e: type(e).__name__,
)
def test_the_noise_rate_is_an_estimate_of_the_share_of_wrong_labels(estimator, share):
    X, y = separable(share)
    estimator = clone(estimator)
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    assert estimator.fit(X, y).noise_rate_ == pytest.approx(share, abs=0.04 if share == 0 else 0.07)


@with_the_meta
def test_refit_is_bit_identical_and_nothing_outside_moves(estimator, blobs):
    X, y = blobs
    X_before, y_before = X.copy(), y.copy()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    clf = small(estimator)
    first = clf.fit(X, y).predict_proba(X)
    torch.rand(3)
    torch.set_rng_state(torch_state)
    again = clf.fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(y, y_before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)


@with_the_meta
def test_module_instance_is_copied(estimator, blobs):
    X, y = blobs
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    clf = small(estimator, module=net).fit(X, y)
    assert clf.get_params()[inner(clf) + "module"] is net
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    np.testing.assert_array_equal(clone(clf).fit(X, y).predict_proba(X), clf.predict_proba(X))


@pytest.fixture(scope="session")
def reopened(blobs, tmp_path_factory):
    """Predictions of every fitted classifier, here and by one new process that opens all pickles: a start costs
    seconds.
    """
    folder = tmp_path_factory.mktemp("pickles")
    X, y = blobs
    np.save(folder / "X.npy", X)
    here = {}
    for number, estimator in enumerate([*CLASSIFIERS, *META_CLASSIFIERS]):
        clf = small(estimator, max_epochs=2).fit(X, y)
        (folder / f"{number}.pkl").write_bytes(pickle.dumps(clf))
        here[type(estimator).__name__] = clf.predict_proba(X), folder / f"{number}.npy"
    script = (
        "import pathlib, pickle, numpy as np\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "X = np.load(folder / 'X.npy')\n"
        "for path in folder.glob('*.pkl'):\n"
        "    np.save(path.with_suffix('.npy'), pickle.loads(path.read_bytes()).predict_proba(X))\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return here


@with_the_meta
def test_pickle_opens_in_a_new_process(estimator, reopened):
    proba, path = reopened[type(estimator).__name__]
    np.testing.assert_array_equal(np.load(path), proba)


@with_the_meta
def test_pipeline_grid_search_in_two_processes(estimator, blobs):
    X, y = blobs
    pipe = make_pipeline(StandardScaler(), small(estimator))
    step = pipe.steps[-1][0] + "__" + inner(estimator)
    step = step.removesuffix("__")
    grid = {
        f"{step}__module__width": [8, 16],
        f"{step}__optimizer__weight_decay": [1e-3],
        f"{step}__lr": [0.02, 0.05],
    }
    two = GridSearchCV(pipe, grid, cv=3, n_jobs=2, error_score="raise").fit(X, y)
    one = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(X, y)
    np.testing.assert_array_equal(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])
    best = two.best_estimator_[-1]
    fitted = (best.estimator_ if inner(estimator) else best).module_
    widths = {m.out_features for m in fitted.modules() if isinstance(m, nn.Linear)}
    assert two.best_params_[f"{step}__module__width"] in widths


@with_the_meta
def test_cross_val_predict_and_features(estimator, blobs):
    X, y = blobs
    predicted = cross_val_predict(small(estimator), X, y, cv=3)
    assert set(predicted) <= {"ant", "bee", "cat"}
    clf = small(estimator).fit(X, y)
    features = clf.transform(X)
    names = clf.get_feature_names_out()
    assert features.shape == (len(X), len(names))
    assert names[0] == f"{type(clf.estimator_ if inner(clf) else clf).__name__.lower()}0"


@with_the_meta
def test_data_frames_and_representation(estimator, blobs):
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("abcde"))
    clf = small(estimator).fit(frame, y)
    assert list(clf.feature_names_in_) == list("abcde")
    assert clf.set_output(transform="pandas").transform(frame).index.equals(frame.index)
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[list("edcba")])
    assert type(clf).__name__ in clf._repr_html_()
    assert "max_epochs=3" in repr(clf)


@every_classifier
def test_save_and_load(estimator, blobs, tmp_path):
    from robustlabels import load

    X, y = blobs
    clf = small(estimator, optimizer__weight_decay=1e-4).fit(X, y)
    clf.save(tmp_path / "clf.safetensors")
    again = load(tmp_path / "clf.safetensors")
    assert again.get_params() == {**clf.get_params(), "device": "cpu"}
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    np.testing.assert_array_equal(again.noise_scores_, clf.noise_scores_)
    np.testing.assert_array_equal(again.suggested_labels_, clf.suggested_labels_)
    assert again.n_iter_ == clf.n_iter_


@every_classifier
def test_checkpoint_resumes_exactly(estimator, blobs, tmp_path):
    X, y = blobs
    whole = small(estimator).set_params(max_epochs=5).fit(X, y)

    class Killed(Exception):
        pass

    from skorch.callbacks import Callback

    class Kill(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 4:
                raise Killed

    path = tmp_path / "fit.ckpt"
    broken = small(estimator).set_params(max_epochs=5, checkpoint=path, callbacks=[Kill()])
    with pytest.raises(Killed):
        broken.fit(X, y)
    with pytest.raises(NotFittedError):
        broken.predict(X)
    resumed = small(estimator).set_params(max_epochs=5, checkpoint=path).fit(X, y)
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
    np.testing.assert_array_equal(resumed.noise_scores_, whole.noise_scores_)
    assert resumed.n_iter_ == whole.n_iter_
    assert {p.name for p in tmp_path.iterdir()} <= {"fit.ckpt", "fit.ckpt.finetune"}  # a file a stage, none half
    with pytest.raises(ValueError, match="y differ"):
        small(estimator).set_params(max_epochs=5, checkpoint=path).fit(X, y[::-1])


@with_the_meta
def test_threads_give_what_serial_fits_give(estimator, blobs):
    X, y = blobs
    pipe = small(estimator)
    state = torch.get_rng_state()
    from joblib import parallel_config

    serial = cross_val_score(pipe, X, y, cv=4)
    with parallel_config("threading", n_jobs=4):
        threads = cross_val_score(pipe, X, y, cv=4, n_jobs=4)
    np.testing.assert_array_equal(serial, threads)
    assert torch.equal(torch.get_rng_state(), state)


@with_the_meta
def test_images_and_path_lists_through_folds(estimator, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    X = rng.integers(0, 60, size=(24, 8, 8, 3), dtype=np.uint8) + (150 * y[:, None, None, None]).astype(np.uint8)
    paths = []
    for i, image in enumerate(X):
        paths.append(tmp_path / f"{i:02d}.png")
        Image.fromarray(image).save(paths[-1])
    cv = StratifiedKFold(3)
    clf = small(estimator, image_size=8, precision="float32")
    arrays = cross_val_predict(clf, X, y, cv=cv, method="predict_proba")
    files = cross_val_predict(clf, paths, y, cv=cv, method="predict_proba")
    np.testing.assert_allclose(arrays, files, atol=1e-5)
    first = cross_val_predict(clf, X.transpose(0, 3, 1, 2).copy(), y, cv=cv, method="predict_proba")
    np.testing.assert_allclose(arrays, first, atol=1e-5)


def test_metadata_routing_carries_weights(blobs):
    X, y = blobs
    weight = np.where(y == "ant", 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = small(ELRClassifier()).set_fit_request(sample_weight=True)
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        pipe = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), clf)
        grid = GridSearchCV(pipe, {"elrclassifier__lam": [1.0]}, cv=3, scoring=scorer, error_score="raise")
        grid.fit(X, y, sample_weight=weight)
    fitted = grid.best_estimator_[-1]
    assert (fitted.predict(X) != "ant").mean() > 0.9  # rows of weight zero were not trained on
    assert np.isfinite(fitted.noise_scores_).all()


def test_soft_labels_replace_labels(blobs):
    X, y = blobs
    classes = np.unique(y)
    hard = (y[:, None] == classes).astype(np.float32)
    plain = small(CrossEntropyClassifier()).fit(X, y)
    soft = small(CrossEntropyClassifier()).fit(X, y, soft_labels=hard)
    np.testing.assert_array_equal(plain.predict_proba(X), soft.predict_proba(X))
    swapped = small(CrossEntropyClassifier()).set_params(max_epochs=30).fit(X, y, soft_labels=hard[:, [1, 2, 0]])
    assert swapped.noise_mask_.mean() > 0.8  # y still says which label each row was given
    with pytest.raises(ValueError, match=r"soft_labels must have shape \(200, 3\)"):
        small(CrossEntropyClassifier()).fit(X, y, soft_labels=hard[:, :2])
    with pytest.raises(ValueError, match="row 0 is"):
        small(CrossEntropyClassifier()).fit(X, y, soft_labels=2 * hard)


def test_weights_of_zero_equal_removed_rows_and_are_scored(blobs):
    X, y = blobs
    keep = np.arange(len(y)) < 150
    weighted = small(ELRClassifier(batch_size=32)).fit(X, y, sample_weight=keep.astype(float))
    removed = small(ELRClassifier(batch_size=32)).fit(X[keep], y[keep])
    np.testing.assert_array_equal(weighted.predict_proba(X), removed.predict_proba(X))
    np.testing.assert_array_equal(weighted.noise_scores_[keep], removed.noise_scores_)
    given = np.searchsorted(weighted.classes_, y)
    expected = 1 - weighted.predict_proba(X)[np.arange(len(y)), given]
    np.testing.assert_allclose(weighted.noise_scores_[~keep], expected[~keep], atol=1e-6)


def test_uniform_weights_change_nothing(blobs):
    X, y = blobs
    plain = small(ELRClassifier()).fit(X, y)
    sevens = small(ELRClassifier()).fit(X, y, sample_weight=np.full(len(y), 7.0))
    np.testing.assert_array_equal(plain.predict_proba(X), sevens.predict_proba(X))


@pytest.mark.skipif(not hasattr(sklearn, "callback"), reason="scikit-learn's callbacks came with 1.9")
def test_scikit_learn_callbacks_through_grid_search(blobs):
    from sklearn.callback import ProgressBar, ScoringMonitor

    X, y = blobs
    monitor = ScoringMonitor(scoring="accuracy")
    clf = small(ELRClassifier()).set_callbacks(monitor)
    pipe = make_pipeline(StandardScaler(), clf)
    grid = GridSearchCV(pipe, {"elrclassifier__lam": [0.0, 1.0]}, cv=2).set_callbacks(ProgressBar())
    grid.fit(X, y)
    logs = monitor.get_logs(select="all") if hasattr(monitor, "get_logs") else monitor.logs
    assert len(logs) > 0
    assert not any(name.startswith("_callback") for name in vars(clf))


def test_silent_by_default_and_one_bar_on_request(blobs, capfd):
    X, y = blobs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(ELRClassifier()).fit(X, y)
    assert capfd.readouterr() == ("", "")
    small(ELRClassifier(), verbose=1).fit(X, y)
    bar = capfd.readouterr().err
    assert "3/3" in bar
    assert "noise=" in bar
    assert "samples/s=" in bar
