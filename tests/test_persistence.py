"""save and load: what comes back, what is refused, and that reading runs no code."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.exceptions import NotFittedError
from torch import nn

from robustlabels import CrossEntropyClassifier, ELRClassifier, load


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
    assert meta["params"]["max_epochs"] == 2


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
