"""What a fit does on an accelerator: where things lie, what it waits for, what it leaves alone.

``pytest -m gpu`` runs the ``cuda`` form of each test. The ``cpu`` form of the same code runs with the other tests, so
that what is written here is tried even where there is no GPU.
"""

import contextlib
import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from robustlabels import (
    CoTeachingClassifier,
    CrossEntropyClassifier,
    DivideMixClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    InfluentialRankClassifier,
    SANMClassifier,
    load,
)
from robustlabels.maths.influence_functions import influence_scores
from robustlabels.training.net import RobustNet
from robustlabels.training.objective import Objective
from robustlabels.training.rows import Rows
from tests.instances import CLASSIFIERS

ROOT = Path(__file__).resolve().parents[1]
HAS_CUDA = torch.cuda.is_available()

needs_cuda = [pytest.mark.gpu, pytest.mark.skipif(not HAS_CUDA, reason="torch finds no CUDA device here")]
gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=needs_cuda)])
both = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
every_classifier = pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda clf: type(clf).__name__)


@pytest.fixture(scope="module")
def images():
    """Digits as uint8 images (n, 1, 8, 8): 800 to train on, clean, and 400."""
    X, y = load_digits(return_X_y=True)
    X = (X * 15).astype(np.uint8).reshape(-1, 1, 8, 8)
    return X[:800], y[:800], X[800:1200], y[800:1200]


def small_cnn(cls, device, **params):
    """A convolutional net that learns the digits in a few seconds."""
    settings = {"module": "cnn", "module__width": 8, "max_epochs": 6, "batch_size": 32, "random_state": 0}
    return cls(**{**settings, "device": device, **params})


class Watch(Callback):
    """Calls back with the net; the estimator's copies of it are itself."""

    def __init__(self, **calls):
        self.calls = calls

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, net, **_):
        self.calls.get("on_train_begin", lambda net: None)(net)

    def on_epoch_begin(self, net, **_):
        self.calls.get("on_epoch_begin", lambda net: None)(net)

    def on_epoch_end(self, net, **_):
        self.calls.get("on_epoch_end", lambda net: None)(net)

    def on_train_end(self, net, **_):
        self.calls.get("on_train_end", lambda net: None)(net)


def tensors(value):
    """All tensors in nested containers."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors(v)]
    return [t for v in value for t in tensors(v)] if isinstance(value, (list, tuple)) else []


# --- it learns there


@both
@every_classifier
def test_every_classifier_learns_digits(digits, classifier, device):
    X, _, X_test, y_test, _ = digits
    y = digits_labels(X)
    clf = clone(classifier).set_params(device=device, max_epochs=20, random_state=0).fit(X, y)
    assert torch.device(clf.net_.device).type == device
    assert clf.score(X_test, y_test) > 0.93
    assert clf.predict_proba(X_test).sum(1) == pytest.approx(1, abs=1e-5)
    assert clf.transform(X_test[:5]).shape[0] == 5
    assert np.isfinite(clf.noise_scores_).all()


def digits_labels(X):
    """The true labels of rows of the digits."""
    all_X, all_y = load_digits(return_X_y=True)
    label = {row.tobytes(): y for row, y in zip(all_X.astype(np.float32), all_y, strict=True)}
    return np.array([label[row.tobytes()] for row in X])


@both
def test_elr_withstands_noise(digits, device):
    X, y_noisy, X_test, y_test, flips = digits
    clf = ELRClassifier(device=device, random_state=0).fit(X, y_noisy)
    assert clf.score(X_test, y_test) > 0.93
    assert (clf.noise_mask_ == flips).mean() > 0.93


# --- where things lie


@both
@pytest.mark.parametrize("cls", [ELRClassifier, ELRPlusClassifier])
def test_weights_and_memory_lie_on_the_device(images, cls, device):
    X, y, *_ = images
    clf = small_cnn(cls, device, max_epochs=1).fit(X, y)
    net = clf.net_
    for part in (net.module_, net.criterion_, net.optimizer_):
        found = tensors(part.state_dict())
        assert found
        assert {t.device.type for t in found} == {device}
    memories = [net.criterion_.memory] if cls is ELRClassifier else net.criterion_.memories
    assert all(memory.table("values").device.type == device for memory in memories)


@both
@pytest.mark.parametrize("storage", ["cpu", "memmap"])
def test_memory_stays_on_the_host_where_asked(images, storage, device):
    X, y, X_test, y_test = images
    clf = small_cnn(ELRClassifier, device, target_storage=storage).fit(X, y)
    assert clf.net_.criterion_.memory.table("values").device.type == "cpu"
    assert clf.score(X_test, y_test) > 0.8


@both
def test_images_stay_uint8_on_the_device(images, device):
    X, y, *_ = images
    seen = []
    watch = Watch(on_epoch_begin=lambda net: seen.append((net.rows_.x.dtype, net.rows_.x.device.type)))
    clf = small_cnn(CrossEntropyClassifier, device, max_epochs=1, callbacks=[watch]).fit(X, y)
    assert seen == [(torch.uint8, device)]
    assert not hasattr(clf.net_, "rows_")  # and are let go


@gpu
def test_peak_memory_is_a_small_multiple_of_the_images(device):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (150_000, 3, 32, 32), dtype=np.uint8)
    y = rng.integers(10, size=len(X))
    torch.cuda.init()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    clf = small_cnn(ELRClassifier, device, max_epochs=1, batch_size=256).fit(X, y)
    assert torch.cuda.max_memory_allocated() - before < 2.5 * X.nbytes  # one float32 copy would make it 5
    del clf
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 0.1 * X.nbytes


def test_auto_without_an_accelerator_is_the_cpu(images, monkeypatch):
    X, y, *_ = images
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert str(small_cnn(CrossEntropyClassifier, "auto", max_epochs=1).fit(X, y).net_.device) == "cpu"
    with pytest.raises(ValueError, match="device='cuda' is not available: PyTorch finds none here"):
        small_cnn(CrossEntropyClassifier, "cuda").fit(X, y)


@gpu
def test_auto_takes_the_gpu(images, device):
    X, y, X_test, y_test = images
    clf = small_cnn(CrossEntropyClassifier, "auto").fit(X, y)
    assert torch.device(clf.net_.device).type == device
    assert clf.device == "auto"
    assert next(clf.module_.parameters()).is_cuda
    assert clf.score(X_test, y_test) > 0.8


# --- precision


@both
@pytest.mark.parametrize("cls", [CrossEntropyClassifier, ELRClassifier])
def test_convolutions_run_in_bfloat16_and_channels_last(images, cls, device):
    X, y, X_test, y_test = images
    seen = set()

    def look(module, args, out):
        seen.add((out.dtype, out.is_contiguous(memory_format=torch.channels_last)))

    def hook(net):
        convolutions = [m for m in net.module_.modules() if isinstance(m, torch.nn.Conv2d)]
        handles.append(convolutions[-1].register_forward_hook(look))

    handles = []
    watch = Watch(on_train_begin=hook, on_train_end=lambda net: handles.pop().remove())
    precision = "auto" if device == "cuda" else "bfloat16"  # a CPU without the instructions stays in float32
    fast = small_cnn(cls, device, precision=precision, max_epochs=10, callbacks=[watch]).fit(X, y)
    assert fast.net_.autocast is torch.bfloat16
    assert seen == {(torch.bfloat16, True)}
    assert {p.dtype for p in fast.module_.parameters()} == {torch.float32}
    exact = small_cnn(cls, device, precision="float32", max_epochs=10).fit(X, y)
    assert exact.net_.autocast is None
    assert fast.score(X_test, y_test) == pytest.approx(exact.score(X_test, y_test), abs=0.04)
    assert exact.score(X_test, y_test) > 0.85


@gpu
def test_the_fast_net_trains_compiled(images, device):
    X, y, X_test, y_test = images
    compiled = {"module": "fast", "compile": True, "precision": "bfloat16", "batch_size": 50, "max_epochs": 10}
    clf = small_cnn(CrossEntropyClassifier, device, **compiled).fit(X, y)  # a loss that is no number is an error
    assert clf.score(X_test, y_test) > 0.8


@both
def test_tables_stay_in_float32(digits, device):
    X, y, *_ = digits
    clf = ELRClassifier(device=device, max_epochs=1, random_state=0).fit(X, y)
    assert clf.net_.autocast is None


# --- what it leaves alone


def generators():
    """States of all global generators."""
    device = [torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())] if HAS_CUDA else []
    return [torch.get_rng_state().numpy(), np.random.get_state()[1], *[state.numpy() for state in device]]


@both
@pytest.mark.parametrize("random_state", [0, None])
@pytest.mark.parametrize("cls", [CrossEntropyClassifier, ELRPlusClassifier])
def test_global_generators_are_untouched(images, cls, random_state, device):
    X, y, *_ = images
    clf = small_cnn(cls, device, max_epochs=1, augment="standard", random_state=random_state)
    np.random.seed(0)  # random_state=None takes the seed from here, as in scikit-learn
    torch.manual_seed(0)
    before = generators()
    clf.fit(X, y).predict_proba(X[:50])
    clf.transform(X[:50])
    after = generators()
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if number == 1 and random_state is None:
            continue
        np.testing.assert_array_equal(old, new)


@both
def test_threads_and_default_dtype_are_untouched(images, device):
    X, y, *_ = images
    before = torch.get_num_threads(), torch.get_default_dtype(), torch.backends.cudnn.benchmark
    small_cnn(ELRClassifier, device, max_epochs=1).fit(X, y)
    assert (torch.get_num_threads(), torch.get_default_dtype(), torch.backends.cudnn.benchmark) == before


# --- what it waits for


class NoHostReads(TorchDispatchMode):
    """An error wherever the host asks for a value, as it would have to wait for a device."""

    asking = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.masked_select)
    indexing = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func.overloadpacket in self.indexing and any(t.dtype == torch.bool for t in tensors(args[1]))
        if func.overloadpacket in self.asking or by_mask:
            raise RuntimeError(f"called a synchronizing operation: {func}")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def no_waiting(device):
    """An error for every operation inside that makes the host wait for the device."""
    if device == "cpu":
        with NoHostReads():
            yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@both
def test_waiting_is_noticed(device):
    x = torch.ones(3, device=device)
    with no_waiting(device):
        total = x.sum() * 2
    with pytest.raises(RuntimeError, match="called a synchronizing"), no_waiting(device):
        total.item()
    with pytest.raises(RuntimeError, match="called a synchronizing"), no_waiting(device):
        x[x > 0]
    assert total.item() == 6


@both
@pytest.mark.parametrize("module", ["cnn", "mlp"])
@every_classifier
def test_no_step_waits_for_the_device(images, monkeypatch, classifier, module, device):
    """Reading a batch, forward, backward and the optimizer's step; from the second epoch on, when all is warm."""
    X, y, *_ = images
    armed, guarded_calls = [], {"train_step": 0, "read": 0}

    def guard(name, function):
        def call(*args, **kwargs):
            if not armed:
                return function(*args, **kwargs)
            guarded_calls[name] += 1
            with no_waiting(device):
                return function(*args, **kwargs)

        return call

    monkeypatch.setattr(RobustNet, "train_step", guard("train_step", RobustNet.train_step))
    monkeypatch.setattr(Rows, "read", guard("read", Rows.read))
    watch = Watch(on_epoch_end=lambda net: armed.append(1), on_train_end=lambda net: armed.clear())
    clf = clone(classifier).set_params(device=device, module=module, module__width=8, random_state=0)
    clf.set_params(max_epochs=2, batch_size=256, callbacks=[watch])
    if module == "cnn":
        clf.set_params(augment="standard")
    if "noise_rate" in clf.get_params():
        clf.set_params(noise_rate=0.2)  # estimated otherwise, once in a fit
    clf.fit(X, y, **({"sample_weight": np.linspace(0.5, 1.5, len(X))} if hasattr(clf, "class_weight") else {}))
    steps = clf.net_.criterion_.n_passes * 4
    if type(clf.net_.criterion_).draw is not Objective.draw:  # as many batches as the method drew
        steps = clf.history_[-1, "train_batch_count"]
        assert steps > 0
    assert guarded_calls["train_step"] == steps
    assert guarded_calls["read"] >= steps


@both
@pytest.mark.parametrize("module", ["cnn", "mlp"])
@pytest.mark.parametrize("host", [CrossEntropyClassifier, CoTeachingClassifier, DivideMixClassifier])
def test_no_masked_step_waits_for_the_device(images, monkeypatch, host, module, device):
    """Masks, modulated labels, the gradient of tables, the decoder; from the second epoch on."""
    X, y, *_ = images
    guarded = []

    def step(net, batch, original=RobustNet.train_step):
        if len(net.history) < 2:
            return original(net, batch)
        guarded.append(len(net.history))
        with no_waiting(device):
            return original(net, batch)

    monkeypatch.setattr(RobustNet, "train_step", step)
    params = {"noise_rate": 0.2} if host is CoTeachingClassifier else {}
    inner = host(module, module__width=8, max_epochs=3, batch_size=256, device=device, **params)
    clf = SANMClassifier(inner, warmup=1, random_state=0).fit(X, y)
    assert set(guarded) == {2, 3}
    assert clf.mask_ratio_mean_ > 0


# --- keep and go on

LOADER = """
import pickle, sys, warnings
from pathlib import Path
import numpy as np, torch
from robustlabels import load
assert not torch.cuda.is_available()
folder = Path(sys.argv[1])
X = np.load(folder / "X.npy")
clf = pickle.loads((folder / "clf.pickle").read_bytes())
assert torch.device(clf.net_.device).type == "cpu", clf.net_.device
again = load(folder / "clf.safetensors")
np.savez(
    folder / "there.npz",
    pickled=clf.predict_proba(X), saved=again.predict_proba(X), features=clf.transform(X),
    pickled_scores=clf.noise_scores_, saved_scores=again.noise_scores_,
)
clf.set_params(device="cpu", max_epochs=1).fit(X, again.predict(X))  # and can be used for more
"""


@both
@pytest.mark.parametrize(
    ("cls", "params", "close"),
    [
        (ELRClassifier, {"module": "mlp"}, 1e-3),
        (ELRClassifier, {"precision": "float32"}, 1e-2),  # a GPU may multiply in TF32
        (ELRPlusClassifier, {"max_epochs": 3}, 0.1),  # bfloat16 here, perhaps float32 there
    ],
    ids=["mlp", "cnn", "twin of cnn"],
)
def test_fitted_on_a_device_predicts_without_it(images, tmp_path, cls, params, close, device):
    X, y, X_test, _ = images
    clf = small_cnn(cls, device, **params).fit(X, y)
    here, features = clf.predict_proba(X_test), clf.transform(X_test)
    np.save(tmp_path / "X.npy", X_test)
    (tmp_path / "clf.pickle").write_bytes(pickle.dumps(clf))
    clf.save(tmp_path / "clf.safetensors")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LOADER, str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = np.load(tmp_path / "there.npz")
    for name in ("pickled", "saved"):
        np.testing.assert_allclose(there[name], here, atol=close)
        assert (there[name].argmax(1) == here.argmax(1)).mean() > 0.97
        np.testing.assert_array_equal(there[f"{name}_scores"], clf.noise_scores_)
    np.testing.assert_allclose(there["features"], features, atol=20 * close * np.abs(features).mean())


@gpu
def test_pickle_returns_to_the_device(images, device):
    X, y, X_test, _ = images
    clf = small_cnn(ELRClassifier, device, max_epochs=2).fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    assert torch.device(again.net_.device).type == device
    assert {t.device.type for t in tensors(again.net_.module_.state_dict())} == {device}
    np.testing.assert_allclose(again.predict_proba(X_test), clf.predict_proba(X_test), atol=1e-3)


@gpu
def test_load_is_on_the_cpu(images, tmp_path, device):
    X, y, X_test, _ = images
    clf = small_cnn(ELRClassifier, device, precision="float32", max_epochs=2).fit(X, y)
    clf.save(tmp_path / "clf.safetensors")
    again = load(tmp_path / "clf.safetensors")
    assert torch.device(again.net_.device).type == "cpu"
    np.testing.assert_allclose(again.predict_proba(X_test), clf.predict_proba(X_test), atol=1e-2)


@pytest.fixture
def deterministic(monkeypatch):
    """Algorithms that give the same bits every time."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def stop_before_epoch(number):
    """A callback that interrupts a fit when epoch ``number``, from 1, is about to begin."""

    def stop(net):
        if len(net.history) == number:
            raise KeyboardInterrupt

    return Watch(on_epoch_begin=stop)


@both
@pytest.mark.usefixtures("deterministic")
@pytest.mark.filterwarnings("ignore:fit was interrupted")
@pytest.mark.parametrize(
    ("cls", "params"),
    [
        (ELRClassifier, {"module": "mlp", "augment": None}),
        (ELRClassifier, {}),
        (ELRPlusClassifier, {}),
        (ELRClassifier, {"target_storage": "cpu"}),
    ],
    ids=["mlp", "cnn", "twin of cnn", "host memory"],
)
def test_resumed_equals_uninterrupted(images, tmp_path, cls, params, device):
    X, y, X_test, _ = images
    params = {"augment": "standard", "max_epochs": 4, "batch_size": 64, **params}
    whole = small_cnn(cls, device, **params).fit(X, y)
    twice = small_cnn(cls, device, **params).fit(X, y)
    np.testing.assert_array_equal(twice.predict_proba(X_test), whole.predict_proba(X_test))  # the ground it stands on
    file = tmp_path / "fit.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        small_cnn(cls, device, **params, checkpoint=file, callbacks=[stop_before_epoch(3)]).fit(X, y)
    resumed = small_cnn(cls, device, **params, checkpoint=file).fit(X, y)
    assert resumed.n_iter_ == 4
    np.testing.assert_array_equal(resumed.predict_proba(X_test), whole.predict_proba(X_test))
    np.testing.assert_array_equal(resumed.noise_scores_, whole.noise_scores_)
    assert resumed.history_[:, "train_loss"] == whole.history_[:, "train_loss"]


@gpu
@pytest.mark.filterwarnings("ignore:fit was interrupted")
def test_a_checkpoint_goes_on_elsewhere(images, tmp_path, device):
    X, y, X_test, y_test = images
    for first, second in ((device, "cpu"), ("cpu", device)):
        file = tmp_path / f"{first}.checkpoint"
        with pytest.raises(KeyboardInterrupt):
            small_cnn(ELRClassifier, first, checkpoint=file, callbacks=[stop_before_epoch(3)]).fit(X, y)
        clf = small_cnn(ELRClassifier, second, checkpoint=file).fit(X, y)
        assert torch.device(clf.net_.device).type == torch.device(second).type
        assert clf.n_iter_ == 6
        assert clf.score(X_test, y_test) > 0.8


@both
@pytest.mark.parametrize("refine", ["finetune", "last_layer"])
def test_influence_is_scored_where_the_network_lives(images, device, refine):
    X, y, X_test, y_test = images
    y = np.where(np.arange(len(y)) % 5 == 0, (y + 1) % 10, y)
    settings = {"refine": refine, "max_rounds": 2, "backend": "kfac", "random_state": 0}
    clf = InfluentialRankClassifier(small_cnn(CrossEntropyClassifier, device), **settings)
    clf.fit(X, y, X_val=X_test, y_val=y_test)
    assert np.isfinite(clf.influential_rank_).all()
    features = torch.from_numpy(clf.transform(X).astype(np.float64))
    here, there = (influence_scores(features.to(where), y, 10, backend="kfac") for where in ("cpu", device))
    assert there.model.device.type == device
    for one, other in zip(here[:3], there[:3], strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-4, atol=1e-6)
