"""The boundary: inputs of every kind, bad input, parameters, interruptions, continuation."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, GradientNormClipping, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn

from robustlabels import CrossEntropyClassifier, ELRClassifier, ELRPlusClassifier, load
from robustlabels.training.base import seeded
from robustlabels.training.parameters import default_batch_size, default_max_epochs


def elr(**params):
    return ELRClassifier(**{"max_epochs": 3, "random_state": 0, "device": "cpu", **params})


# --- inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.astype(np.float64),
        lambda X: X.astype(np.float16).astype(np.float32),
        torch.from_numpy,
        pd.DataFrame,
        lambda X: X.tolist(),
        np.asfortranarray,
    ],
    ids=["float64", "float16", "tensor", "frame", "list", "fortran"],
)
def test_containers_train_the_same_model(blobs, convert):
    X, y = blobs
    X = X.astype(np.float16).astype(np.float32)
    expected = elr().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(elr().fit(convert(X), y).predict_proba(convert(X)), expected, atol=1e-6)


def test_memory_map_and_read_only_arrays(blobs, tmp_path, recwarn):
    X, y = blobs
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    frozen = X.copy()
    frozen.flags.writeable = False
    expected = elr().fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(elr().fit(mapped, y).predict_proba(mapped), expected)
    np.testing.assert_array_equal(elr().fit(frozen, y).predict_proba(frozen), expected)
    assert not [w for w in recwarn if "writable" in str(w.message)]


def test_uint8_images_keep_their_type_and_both_layouts_agree():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(40, 10, 10, 3), dtype=np.uint8)
    y = np.arange(40) % 2
    last = elr(precision="float32").fit(X, y)
    first = elr(precision="float32").fit(np.ascontiguousarray(X.transpose(0, 3, 1, 2)), y)
    np.testing.assert_allclose(last.predict_proba(X), first.predict_proba(X.transpose(0, 3, 1, 2)), atol=1e-5)
    assert (last.layout_, first.layout_) == ("channels_last", "as_is")
    forced = elr(channels="last").fit(rng.random((20, 3, 8, 1), dtype=np.float32), np.arange(20) % 2)
    assert forced.layout_ == "channels_last"
    gray = elr().fit(X[..., 0], y)
    assert gray.layout_ == "gray"
    assert gray.n_features_in_ == 10


def test_lazy_view_is_never_made_an_array(monkeypatch):
    from robustlabels.training import rows

    monkeypatch.setattr(rows, "READ_AHEAD_BYTES", 0)
    rng = np.random.default_rng(0)
    data = rng.random((30, 1, 8, 8), dtype=np.float32)
    asked = []

    class View:
        dtype, ndim = data.dtype, 4

        def __init__(self, rows):
            self.rows = rows
            self.shape = (len(rows), 1, 8, 8)

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, key):
            key = key[0] if isinstance(key, tuple) else key
            if isinstance(key, int):
                asked.append(1)
                return data[self.rows[key]]
            return View(self.rows[key])

    y = np.arange(30) % 2
    lazy = elr(precision="float32").fit(View(np.arange(30)), y)
    expected = elr(precision="float32").fit(data, y)
    np.testing.assert_array_equal(lazy.predict_proba(data), expected.predict_proba(data))
    assert len(asked) >= 3 * 30


def test_any_module_class_gets_its_sizes_by_name(blobs):
    X, y = blobs

    class Net(nn.Module):
        def __init__(self, in_features, n_classes, hidden=4):
            super().__init__()
            self.stack = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, n_classes))

        def forward(self, x):
            return self.stack(x)

    clf = elr(module=Net, module__hidden=6).fit(X, y)
    assert clf.module_.stack[0].weight.shape == (6, 5)
    assert clf.transform(X).shape == (200, 6)
    with pytest.raises(TypeError, match=r"hiden.*hidden"):
        elr(module=Net, module__hiden=6).fit(X, y)
    with pytest.raises(ValueError, match="3 classes"):
        elr(module=nn.Linear(5, 7)).fit(X, y)


def test_raw_columns_of_any_scale_train(blobs):
    X, y = blobs
    raw = X * np.array([1e4, 1, 1e-3, 10, 1e6], dtype=np.float32) + 100
    assert elr(max_epochs=40).fit(raw, y).score(raw, y) > 0.9


@pytest.mark.parametrize("labels", [[True, False], [3, 7], [-1.0, 2.0], ["a", "b"], [np.str_("x"), np.str_("y")]])
def test_labels_come_back_in_their_type(labels):
    X = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    y = np.array(labels)[np.arange(30) % 2]
    predicted = elr().fit(X, y).predict(X)
    assert predicted.dtype == y.dtype
    assert set(predicted) <= set(y)


def test_class_weight_and_its_equal_in_sample_weights(blobs):
    X, y = blobs
    weight = {"ant": 1.0, "bee": 2.0, "cat": 5.0}
    by_class = elr(class_weight=weight).fit(X, y).predict_proba(X)
    by_row = elr().fit(X, y, sample_weight=[weight[label] for label in y]).predict_proba(X)
    np.testing.assert_array_equal(by_class, by_row)


def test_float64_and_untouched_dtype(blobs, tmp_path):
    X, y = blobs
    clf = elr(dtype="float64").fit(X.astype(np.float64), y)
    assert next(clf.module_.parameters()).dtype == torch.float64

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.embed(x).mean(1))

    tokens, y = np.random.default_rng(0).integers(9, size=(40, 6)), np.arange(40) % 2
    clf = elr(module=Tokens(), dtype=None).fit(tokens, y)
    assert clf.input_integers_
    proba = clf.predict_proba(tokens)
    for same in tokens.astype(np.int32), tokens.tolist(), pd.DataFrame(tokens), torch.tensor(tokens):
        np.testing.assert_array_equal(clf.predict_proba(same), proba)
        np.testing.assert_array_equal(elr(module=Tokens(), dtype=None).fit(same, y).classes_, [0, 1])
    with pytest.raises(ValueError, match=r"X holds float32, but ELRClassifier was fitted on whole numbers"):
        clf.predict(tokens.astype(float))
    clf.save(tmp_path / "tokens")
    np.testing.assert_array_equal(load(tmp_path / "tokens", module=Tokens()).predict_proba(tokens), proba)
    # Without dtype=None they are numbers like any other, and fitted on floats, whole numbers are cast.
    assert not elr().fit(tokens, y).input_integers_
    clf = elr(dtype=None).fit(tokens.astype(np.float32), y)
    np.testing.assert_array_equal(clf.predict_proba(tokens), clf.predict_proba(tokens.astype(np.float32)))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda X, y: (np.where(X == X.max(), np.nan, X), y), ValueError, "NaN"),
        (lambda X, y: (np.where(X == X.max(), np.inf, X), y), ValueError, "infinity"),
        (lambda X, y: (X, np.full(len(y), "ant")), ValueError, "one class: .*ant"),
        (lambda X, y: (X[:1], y[:1]), ValueError, "one class"),
        (lambda X, y: (X[:0], y[:0]), ValueError, "0 sample"),
        (lambda X, y: (X, y[:-3]), ValueError, r"inconsistent numbers of samples: \[200, 197\]"),
        (lambda X, y: (X, np.where(y == "ant", np.nan, 1.0)), ValueError, "y contains NaN"),
        (lambda X, y: (scipy.sparse.csr_matrix(X), y), TypeError, "TruncatedSVD"),
        (lambda X, y: (X, np.random.default_rng(0).random(len(y))), ValueError, "Unknown label type|continuous"),
        (lambda X, y: (X, None), ValueError, "requires y"),
    ],
    ids=["nan", "inf", "one class", "one row", "empty", "length", "nan labels", "sparse", "continuous", "no y"],
)
def test_bad_data_is_refused_and_leaves_the_estimator_unfitted(blobs, spoil, error, message):
    clf = elr()
    with pytest.raises(error, match=message):
        clf.fit(*spoil(*blobs))
    with pytest.raises(NotFittedError):
        check_is_fitted(clf)


def test_a_failed_refit_keeps_the_model(blobs):
    X, y = blobs
    clf = elr().fit(X, y)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match="NaN"):
        clf.fit(np.full((10, 4), np.nan), y[:10])
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    assert clf.n_features_in_ == 5


def test_wrong_image_size_at_predict():
    X = np.zeros((10, 3, 8, 8), dtype=np.float32)
    clf = elr(max_epochs=1).fit(X, np.arange(10) % 2)
    with pytest.raises(ValueError, match=r"rows of shape \(3, 9, 8\).*fitted on rows of shape \(3, 8, 8\)"):
        clf.predict(np.zeros((2, 3, 9, 8), dtype=np.float32))


def test_corrupt_file_is_named(tmp_path):
    from PIL import Image

    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    for path in paths:
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)
    (tmp_path / "3.png").write_bytes(b"not a picture")
    with pytest.raises(OSError, match=r"3\.png"):
        elr(image_size=8).fit(paths, np.arange(6) % 2)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full(200, -1.0), "Negative values"),
        (np.zeros(200), "at least one non-zero"),
        (np.ones(7), r"shape \(7,\)"),
        (np.full(200, np.nan), "NaN"),
    ],
)
def test_bad_weights(blobs, weight, message):
    with pytest.raises(ValueError, match=message):
        elr().fit(*blobs, sample_weight=weight)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"max_epochs": 0}, ValueError, r"max_epochs must be an integer in \[1, inf\) or 'auto', got 0"),
        ({"max_epochs": 2.5}, ValueError, "max_epochs"),
        ({"batch_size": "big"}, ValueError, "batch_size"),
        ({"lr": -1}, ValueError, "lr must be"),
        ({"device": "cuda:0"}, ValueError, "cuda:0.*none here"),
        ({"device": "gpu"}, ValueError, "device must be"),
        ({"precision": "fp8"}, ValueError, "precision must be"),
        ({"dtype": "float16"}, ValueError, "dtype must be"),
        ({"channels": "middle"}, ValueError, "channels must be"),
        ({"lr_schedule": "linear"}, ValueError, "'cosine_restarts'"),
        ({"module": "mpl"}, ValueError, "mlp"),
        ({"optimizer": torch.optim.LBFGS}, ValueError, "LBFGS evaluates the loss several times"),
        ({"optimizer": "adam"}, ValueError, "adamw"),
        ({"optimizer__wieght_decay": 1.0}, TypeError, "weight_decay"),
        ({"module__widht": 3}, TypeError, "width"),
        ({"max_epoch": 3}, TypeError, "max_epochs"),
        ({"modul__width": 3}, TypeError, "module__width"),
        ({"net_params": {"a": 1}}, TypeError, "net_params"),
        ({"augment": "standart"}, ValueError, "standard"),
        ({"augment": lambda x: x[:, :2]}, ValueError, "shape"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_bad_parameters_say_what_is_wrong_and_the_way_out(blobs, params, error, message):
    if "cuda:0" in params.values() and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    clf = elr(**params)  # the constructor is silent, as scikit-learn wants it
    with pytest.raises(error, match=message):
        clf.fit(*blobs)


def test_unknown_names_raise_in_set_params():
    with pytest.raises(ValueError, match="'lam'"):
        elr().set_params(lamb=1)
    with pytest.raises(ValueError, match="optimizer__lr"):
        elr().set_params(optimiser__lr=1)


def test_routed_parameters_survive_clone_and_show():
    clf = elr(module__width=7, optimizer__weight_decay=0.5)
    assert clone(clf).get_params() == clf.get_params()
    assert clone(clf).set_params(module__width=9).get_params()["module__width"] == 9
    assert "module__width=7" in repr(clf)
    assert clf.get_params(deep=False)["optimizer__weight_decay"] == 0.5


def test_divergence_is_named(blobs):
    with pytest.raises(FloatingPointError, match="lower lr"):
        elr(module="mlp", lr=1e30, max_epochs=5).fit(*blobs)


# --- interruptions ----------------------------------------------------------------------------------------------------


class InterruptAt(Callback):
    """Ctrl-C at the beginning of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("clf", [elr(), ELRPlusClassifier(max_epochs=3, random_state=0, device="cpu")])
def test_interrupt_after_an_epoch_leaves_a_usable_model(blobs, clf):
    X, y = blobs
    clf = clone(clf).set_params(max_epochs=6, callbacks=[InterruptAt(4)])
    with pytest.warns(UserWarning, match="after 3 epochs"), pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert clf.predict(X).shape == (200,)
    assert clf.n_iter_ == 3
    assert np.isfinite(clf.noise_scores_).all()


def test_interrupt_in_the_first_epoch_leaves_it_unfitted(blobs):
    clf = elr(callbacks=[InterruptAt(1)])
    state = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*blobs)
    with pytest.raises(NotFittedError):
        clf.predict(blobs[0])
    assert torch.equal(torch.get_rng_state(), state)


# --- continuation, callbacks ------------------------------------------------------------------------------------------


def test_warm_start_continues_on_the_same_rows_only(blobs):
    X, y = blobs
    clf = elr(warm_start=True).fit(X, y)
    targets = clf.net_.criterion_.memory.table("values").sum(1).clone()
    clf.fit(X, y)
    assert clf.n_iter_ == 6
    assert (clf.net_.criterion_.memory.table("values").sum(1) > targets).all()
    with pytest.raises(ValueError, match="contents of X changed"):
        clf.fit(X + 1, y)
    with pytest.raises(ValueError, match="shape of X changed"):
        clf.fit(X[:100], y[:100])
    with pytest.raises(ValueError, match="y changed"):
        clf.fit(X, y[::-1])
    assert clf.n_iter_ == 6
    assert clf.set_params(warm_start=False).fit(X[:100], y[:100]).n_iter_ == 3


def test_checkpoint_of_other_parameters_is_refused(blobs, tmp_path):
    path = tmp_path / "fit.ckpt"
    elr(checkpoint=path).fit(*blobs)
    with pytest.raises(ValueError, match="parameter lam"):
        elr(checkpoint=path, lam=1.0).fit(*blobs)
    assert elr(checkpoint=path).fit(*blobs).n_iter_ == 3


def test_checkpoint_that_cannot_be_written_leaves_no_half_file(blobs, tmp_path, monkeypatch):
    def full(state, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        elr(checkpoint=tmp_path / "fit.ckpt").fit(*blobs)
    assert list(tmp_path.iterdir()) == []


def test_skorch_callbacks_and_validation_split(blobs):
    X, y = blobs
    clf = elr(
        max_epochs=30,
        train_split=ValidSplit(5, stratified=True),
        lr_schedule=None,
        callbacks=[
            ("stop", EarlyStopping(patience=2)),
            ("clip", GradientNormClipping(1.0)),
            ("lr", LRScheduler("StepLR", step_size=2)),
            ("f1", EpochScoring("f1_macro", lower_is_better=False)),
        ],
    ).fit(X, y)
    assert clf.n_iter_ <= 30
    assert {"valid_loss", "valid_acc", "valid_loss_best", "train_loss", "f1_macro"} <= set(clf.history_[0])
    assert clf.history_[0, "lr"] > clf.history_[-1, "lr"]
    seen = clf.net_.criterion_.memory.table("values").sum(1) > 0
    assert seen.sum() == 160
    given = np.searchsorted(clf.classes_, y)
    expected = 1 - clf.predict_proba(X)[np.arange(200), given]
    np.testing.assert_allclose(clf.noise_scores_[~seen], expected[~seen.numpy()], atol=1e-6)
    assert elr(callbacks=[("clip", GradientNormClipping(1.0))], callbacks__clip__gradient_clip_value=2.0).fit(X, y)


def test_early_stopping_ends_the_fit_without_an_error(blobs):
    X, y = blobs

    class StopNow(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    assert elr(callbacks=[StopNow()]).fit(X, y).n_iter_ == 1


def test_schedules():
    def factors(schedule, n=4):
        return [CrossEntropyClassifier(lr_schedule=schedule)._lr_factor()(e, n) for e in range(n)]

    assert factors("constant") == [1, 1, 1, 1]
    assert factors("cosine") == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert factors({1: 0.1, 3: 0.5}) == pytest.approx([1, 0.1, 0.1, 0.05])
    assert factors(lambda epoch, n: epoch / n) == [0, 0.25, 0.5, 0.75]


def test_learning_rate_of_every_epoch_is_recorded(blobs):
    clf = elr(lr=0.1, lr_schedule={1: 0.5}).fit(*blobs)
    assert clf.history_[:, "lr"] == pytest.approx([0.1, 0.05, 0.05])


@pytest.mark.parametrize("n", [2, 15, 100, 1257, 50_000])
def test_defaults_guarantee_updates(n):
    batch_size = default_batch_size(n)
    steps = -(-n // batch_size)
    assert 16 <= batch_size <= 128
    assert steps * default_max_epochs(n, batch_size) >= 600


def test_seeded_restores_the_generator_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(3):
        torch.rand(1)
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), state)


def test_signature_is_gathered_from_the_chain():
    import inspect

    names = list(inspect.signature(ELRPlusClassifier).parameters)
    assert names[0] == "module"
    assert {"mixup_alpha", "lam", "class_weight", "max_epochs"} <= set(names)
    assert names[-1] == "net_params"
    assert inspect.signature(ELRPlusClassifier).parameters["lam"].default == ELRClassifier().lam


@pytest.mark.parametrize("clf", [ELRPlusClassifier, CrossEntropyClassifier, ELRClassifier])
def test_bar_for_every_kind_of_memory(blobs, clf, capfd):
    clf(max_epochs=2, random_state=0, device="cpu", verbose=1).fit(*blobs)
    assert "2/2" in capfd.readouterr().err


KILLED = """
import os, signal, sys
import numpy as np
from skorch.callbacks import Callback
from robustlabels import ELRPlusClassifier

class Kill(Callback):
    def on_batch_end(self, net, **kwargs):
        if len(net.history) == 4:
            os.kill(os.getpid(), signal.SIGKILL)

X, y = np.load(sys.argv[1]), np.load(sys.argv[2])
callbacks = [Kill()] if sys.argv[4] == "kill" else None
clf = ELRPlusClassifier(max_epochs=6, random_state=0, device="cpu", checkpoint=sys.argv[3], callbacks=callbacks)
np.save(sys.argv[5], clf.fit(X, y).predict_proba(X))
"""


def test_resume_after_a_kill_in_another_process(blobs, tmp_path):
    import os
    import signal
    import subprocess
    import sys

    X, y = blobs
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)

    def run(how):
        files = [str(tmp_path / name) for name in ("X.npy", "y.npy", "fit.ckpt")]
        command = [sys.executable, "-c", KILLED, *files, how, str(tmp_path / "proba.npy")]
        return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode

    assert run("kill") == -signal.SIGKILL
    assert not (tmp_path / "proba.npy").exists()
    assert run("resume") == 0
    whole = ELRPlusClassifier(max_epochs=6, random_state=0, device="cpu").fit(X, y)
    np.testing.assert_array_equal(np.load(tmp_path / "proba.npy"), whole.predict_proba(X))


@pytest.mark.parametrize("shape", [(6,), (4, 6), (3, 4, 6), (2, 3, 4, 6)])
def test_rows_of_any_shape_through_the_mlp(shape):
    X = np.random.default_rng(0).normal(size=(30, *shape)).astype(np.float32)
    assert elr(module="mlp", max_epochs=1).fit(X, np.arange(30) % 2).predict(X).shape == (30,)


def test_bytes_and_floats_are_not_confused():
    X = np.random.default_rng(0).integers(0, 256, size=(20, 3, 8, 8), dtype=np.uint8)
    y = np.arange(20) % 2
    clf = elr(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="images of float32, but ELRClassifier was fitted on images of uint8"):
        clf.predict(X.astype(np.float32))
    with pytest.raises(ValueError, match="images of uint8, but ELRClassifier was fitted on images of float"):
        elr(max_epochs=1).fit(X.astype(np.float32), y).predict(X)
    assert clf.predict(X).shape == (20,)
