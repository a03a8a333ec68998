"""save and load: what comes back, what is refused, and that reading runs no code."""

import json

import numpy as np
import pytest
import scipy.sparse
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from robustlabels import (
    AutoNoiseDetector,
    ConfidentLearningNoiseDetector,
    CrossEntropyClassifier,
    ELRClassifier,
    KNNNoiseDetector,
    NoiseAwareClassifier,
    load,
    save,
)
from tests.instances import CLASSIFIERS, CLEANERS, DETECTORS, META_CLASSIFIERS


def fitted(X, y, **params):
    return ELRClassifier(**{"max_epochs": 2, "random_state": 0, "device": "cpu", **params}).fit(X, y)


@pytest.mark.parametrize("labels", [["x", "y"], [2, 5], [1.0, 2.0], [True, False]])
def test_labels_of_every_kind(tmp_path, labels):
    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    clf = fitted(X, np.array(labels)[np.arange(30) % 2])
    clf.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert again.classes_.dtype == clf.classes_.dtype
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))


def test_object_labels_and_feature_names(tmp_path):
    import pandas as pd

    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["height", "width"])
    clf = fitted(X, np.array(["a", "b"], dtype=object)[np.arange(30) % 2])
    clf.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert again.classes_.dtype == object
    assert list(again.feature_names_in_) == ["height", "width"]
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))


def test_memory_comes_back(blobs, tmp_path):
    clf = fitted(*blobs, target_storage="cpu", target_top_m=2)
    clf.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    index = torch.arange(200)
    torch.testing.assert_close(again.net_.criterion_.memory.read(index), clf.net_.criterion_.memory.read(index))


def test_modules_of_ones_own_are_asked_for(blobs, tmp_path):
    X, y = blobs
    clf = fitted(X, y, module=nn.Linear(5, 3), optimizer=torch.optim.AdamW, callbacks=[])
    clf.save(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"load\(path, module="):
        load(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors", module=nn.Linear(5, 3))
    assert again.optimizer is torch.optim.AdamW
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_what_cannot_be_kept_is_said(blobs, tmp_path):
    clf = fitted(*blobs, lr_schedule=lambda epoch, n: 1.0)
    with pytest.warns(UserWarning, match="lr_schedule cannot be kept"):
        clf.save(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").lr_schedule == "cosine"


def test_a_class_of_ones_own(blobs, tmp_path):
    class Mine(CrossEntropyClassifier):
        pass

    X, y = blobs
    clf = Mine(max_epochs=1, random_state=0, device="cpu").fit(X, y)
    clf.save(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="cls=Mine"):
        load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "a.safetensors", cls=Mine).predict(X), clf.predict(X))


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load(tmp_path / "text")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="not written by save"):
        load(tmp_path / "other")
    with pytest.raises(NotFittedError):
        ELRClassifier().save(tmp_path / "unfitted")
    assert not (tmp_path / "unfitted").exists()


def test_the_file_holds_tensors_and_json_only(blobs, tmp_path):
    fitted(*blobs).save(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        meta = json.loads(file.metadata()["robustlabels"])
    assert meta["class"] == "ELRClassifier"
    assert meta["content"]["params"]["max_epochs"] == 2


def test_a_full_disk_leaves_the_old_file(blobs, tmp_path, monkeypatch):
    from robustlabels.training import persistence

    clf = fitted(*blobs)
    clf.save(tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()

    def full(tensors, path, metadata):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(persistence, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        clf.save(tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


# --- every estimator --------------------------------------------------------------------------------------------------


def results(estimator, X, y):
    """Everything that a fitted estimator says: of the rows it was fitted on, and of rows as new ones."""
    said = {k: v for k, v in vars(estimator).items() if k.endswith("_") and isinstance(v, (np.ndarray, float, tuple))}
    for method in ("predict", "predict_proba", "transform"):
        if hasattr(estimator, method):
            said[method] = getattr(estimator, method)(X)
    if hasattr(estimator, "score_labels"):
        try:
            said["score_labels"] = estimator.score_labels(X[:40], y[:40])
        except NotImplementedError:
            said["score_labels"] = "not offered"
    return said


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)
        assert np.asarray(second[name]).dtype == np.asarray(value).dtype, name


def small(estimator):
    estimator = clone(estimator)
    params = {k: 2 for k in estimator.get_params() if k.rpartition("__")[2] == "max_epochs"}
    seeds = {k: 0 for k in estimator.get_params() if k.rpartition("__")[2] == "random_state"}
    return estimator.set_params(**params, **seeds)


every_estimator = pytest.mark.parametrize(
    "estimator", [*CLASSIFIERS, *META_CLASSIFIERS, *CLEANERS, *DETECTORS], ids=lambda e: type(e).__name__
)


@every_estimator
def test_every_estimator_is_saved_and_loaded(estimator, blobs, tmp_path):
    X, y = blobs
    fitted = small(estimator).fit(X, y)
    fitted.save(tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert type(again) is type(fitted)
    assert_same(results(fitted, X, y), results(again, X, y))
    if "device" in fitted.get_params():
        fitted.device = "cpu"  # where every loaded network lies
    assert str(again.get_params(deep=False)) == str(fitted.get_params(deep=False))


def test_pipelines_are_saved_with_what_is_in_them(blobs, tmp_path):
    X, y = blobs
    for last in NoiseAwareClassifier(detector=KNNNoiseDetector()), AutoNoiseDetector(n_repeats=1):
        pipe = make_pipeline(StandardScaler(), small(last)).fit(X, y)
        save(pipe, tmp_path / "pipe.safetensors")
        again = load(tmp_path / "pipe.safetensors")
        assert_same(results(pipe[-1], pipe[:-1].transform(X), y), results(again[-1], again[:-1].transform(X), y))


def test_a_detector_of_a_sparse_matrix(blobs, tmp_path):
    X, y = scipy.sparse.csr_matrix(np.maximum(blobs[0], 0)), blobs[1]
    fitted = KNNNoiseDetector(device="cpu").fit(X, y)
    fitted.save(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "a.safetensors").score_labels(X, y), fitted.score_labels(X, y))


def test_parts_that_need_code_are_named(blobs, tmp_path):
    X, y = blobs
    clf = NoiseAwareClassifier(RandomForestClassifier(n_estimators=2), KNNNoiseDetector()).fit(X, y)
    with pytest.raises(TypeError, match=r"estimator_.*Tree.*joblib\.dump or skops\.io\.dump"):
        clf.save(tmp_path / "a.safetensors")
    assert not any(tmp_path.iterdir())


def test_a_file_cannot_name_code_of_other_packages(blobs, tmp_path):
    ConfidentLearningNoiseDetector(cv=3).fit(*blobs).save(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        text = file.metadata()["robustlabels"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    for name in "os:system", "builtins:eval":
        changed = text.replace("sklearn.pipeline:Pipeline", name)
        assert changed != text
        save_file(tensors, tmp_path / "b.safetensors", metadata={"robustlabels": changed})
        with pytest.raises(ValueError, match="not of this package, torch or scikit-learn"):
            load(tmp_path / "b.safetensors")


@every_estimator
def test_every_estimator_survives_skops(estimator, blobs, tmp_path):
    io = pytest.importorskip("skops.io")
    X, y = blobs
    fitted = small(estimator).fit(X, y)
    io.dump(fitted, tmp_path / "a.skops")
    again = io.load(tmp_path / "a.skops", trusted=io.get_untrusted_types(file=tmp_path / "a.skops"))
    assert_same(results(fitted, X, y), results(again, X, y))
