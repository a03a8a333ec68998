"""Whole epochs and predictions, against a bare torch loop, stock skorch, and each other."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import Tensor, nn

from benchmarks.speed.harness import Ratio, Skip, benchmark, compare, cpu_flags
from benchmarks.speed.nets import PlainCNN, PlainMLP
from robustlabels import CrossEntropyClassifier, ELRClassifier, SANMClassifier

SGD = {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-3}


def noise(n: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels to learn nothing from: never zeros, which multiply faster."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, *shape), dtype=np.float32), rng.integers(0, 10, n)


def seeded(make: Callable[..., nn.Module], *args: Any) -> nn.Module:
    torch.manual_seed(0)
    return make(*args)


class EpochClock(Callback):
    """CPU seconds of every epoch of the last stage, from the end of the one before: votes between them are included."""

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Start."""
        self.epochs: list[float] = []
        self.last = time.process_time()

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Stop, and start again."""
        now = time.process_time()
        self.epochs.append(now - self.last)
        self.last = now


def classifier(make: type, module: nn.Module, **params: Any) -> Any:
    """An estimator with the bare loop's settings."""
    defaults = {"lr": SGD["lr"], "lr_schedule": "constant", "augment": None, "device": "cpu", "random_state": 0}
    return make(module, **{**defaults, "precision": "float32", "batch_size": 128, "max_epochs": 1, **params})


def epochs_of(estimator: BaseEstimator, x: np.ndarray, y: np.ndarray, *, last: bool = False) -> Callable[[], float]:
    """A candidate: the epochs of one fit, or the last of them, without its checks before and its scores after."""
    plugged = isinstance(estimator, SANMClassifier)

    def run() -> float:
        callbacks = "estimator__callbacks" if plugged else "callbacks"
        estimator.set_params(**{callbacks: [("clock", EpochClock())]}).fit(x, y)
        trained = estimator.estimator_ if plugged else estimator
        seconds = dict(trained.net_.callbacks_)["clock"].epochs
        return seconds[-1] if last else sum(seconds)

    return run


def bare_loop(
    module: nn.Module, x: np.ndarray, y: np.ndarray, *, batch_size: int = 128, epochs: int = 1, bfloat16: bool = False
) -> nn.Module:
    """What one would write: the reference of every ratio here."""
    module = copy.deepcopy(module).train()
    optimizer = torch.optim.SGD(module.parameters(), **SGD, fused=True)  # as ours is
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(epochs):
        for index in torch.randperm(len(inputs)).split(batch_size):
            with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
                logits = module(inputs[index])
            loss = F.cross_entropy(logits.float(), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return module


def check_same_training(estimator: BaseEstimator, module: nn.Module, x: np.ndarray, y: np.ndarray, **how: Any) -> None:
    """The bare loop, given the estimator's seed, ends at the same weights."""
    torch.manual_seed(int(np.random.RandomState(0).randint(np.iinfo(np.int32).max)))
    expected = bare_loop(module, x, y, **how)
    fitted = estimator.fit(x, y).net_.module_
    for one, other in zip(fitted.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 if not how.get("bfloat16") else 2e-2)


@benchmark
def overhead(quick: bool) -> Iterator[Ratio]:
    """One of our epochs, against the same epoch in a bare torch loop."""
    x, y = noise(6_000 if quick else 60_000, 784)
    for batch_size in (128, 512):
        module = seeded(PlainMLP)
        how = {"batch_size": batch_size}
        ours = classifier(CrossEntropyClassifier, module, **how)
        check_same_training(ours, module, x, y, **how)
        yield compare(
            f"MLP 784-256-10, batch {batch_size}",
            ("bare loop", lambda module=module, how=how: bare_loop(module, x, y, **how)),
            ("epoch", epochs_of(ours, x, y)),
            overhead=1.10,
            rounds=3 if quick else 11,
            budget=16,
        )
    x, y = noise(1_000 if quick else 6_000, 1, 28, 28)
    for dtype in ("float32", "bfloat16") if has_bfloat16() else ("float32",):
        module = seeded(PlainCNN).to(memory_format=torch.channels_last)
        how = {"bfloat16": dtype == "bfloat16"}
        ours = classifier(CrossEntropyClassifier, module, precision=dtype)
        check_same_training(ours, module, x[:512], y[:512], **how)
        yield compare(
            f"PlainCNN, {dtype} channels_last",
            ("bare loop", lambda module=module, how=how: bare_loop(module, x, y, **how)),
            ("epoch", epochs_of(ours, x, y)),
            overhead=1.03,
            rounds=3 if quick else 11,
            budget=16,
        )


@benchmark
def precision(quick: bool) -> Iterator[Ratio]:
    """Training in bfloat16 and channels_last as we run it, against a bare loop in float32 and NCHW."""
    if not has_bfloat16():
        raise Skip("this CPU does not multiply in bfloat16")
    x, y = noise(1_000 if quick else 6_000, 1, 28, 28)
    module = seeded(PlainCNN)
    ours = classifier(CrossEntropyClassifier, module, precision="bfloat16")
    check_same_training(ours, module, x[:512], y[:512], bfloat16=True)
    yield compare(
        f"PlainCNN, {len(x):,} images, batch 128",
        ("float32 NCHW", lambda: bare_loop(module, x, y)),
        ("bfloat16 channels_last", epochs_of(ours, x, y)),
        speedup=1.9,
        rounds=3 if quick else 11,
        budget=40,
    )


@benchmark
def elr(quick: bool) -> Iterator[Ratio]:
    """An epoch of ELR, against one of cross-entropy."""
    x, y = noise(1_000 if quick else 6_000, 1, 28, 28)
    for dtype in ("float32", "bfloat16") if has_bfloat16() else ("float32",):
        module = seeded(PlainCNN)
        base, other = (classifier(make, module, precision=dtype) for make in (CrossEntropyClassifier, ELRClassifier))
        off = classifier(ELRClassifier, module, precision=dtype, lam=0.0).fit(x[:512], y[:512])
        same = off.predict_proba(x[:512]), base.fit(x[:512], y[:512]).predict_proba(x[:512])
        np.testing.assert_allclose(*same, atol=1e-5 if dtype == "float32" else 2e-2)
        yield compare(
            f"PlainCNN, {dtype}",
            ("cross-entropy", epochs_of(base, x, y)),
            ("ELR", epochs_of(other, x, y)),
            overhead=1.05,
            rounds=3 if quick else 15,
            budget=30,
        )


@benchmark
def predict(quick: bool) -> Iterator[Ratio]:
    """predict_proba, against a bare batched forward at the same batch size."""
    for case, make, shape, n in (
        ("MLP 784-256-10", PlainMLP, (784,), 60_000),
        ("PlainCNN", PlainCNN, (1, 28, 28), 10_000),
    ):
        x, y = noise(2_000 if quick else n, *shape)
        ours = classifier(CrossEntropyClassifier, seeded(make), batch_size=512).fit(x[:512], y[:512])
        module = ours.net_.module_.eval()

        def bare(module: nn.Module = module, x: np.ndarray = x) -> Tensor:
            with torch.inference_mode():
                return torch.cat([module(part).softmax(1) for part in torch.from_numpy(x).split(512)])

        def through_us(ours: Any = ours, x: np.ndarray = x) -> np.ndarray:
            return ours.predict_proba(x)

        np.testing.assert_allclose(through_us(), bare().numpy(), atol=1e-6)
        yield compare(
            f"{case}, {len(x):,} rows",
            ("forward", bare),
            ("predict_proba", through_us),
            overhead=1.5,
            rounds=5 if quick else 21,
        )


@benchmark
def skorch(quick: bool) -> Iterator[Ratio]:
    """Our fit (two epochs, checks and scores included) and predict_proba, against skorch as it comes."""
    for d, width in (64, 128), (784, 256):
        x, y = noise(2_000 if quick else 20_000, d)
        module = seeded(PlainMLP, d, width)
        ours = classifier(CrossEntropyClassifier, module, max_epochs=2)
        stock = NeuralNetClassifier(
            PlainMLP,
            module__n_features=d,
            module__width=width,
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.SGD,
            lr=SGD["lr"],
            optimizer__momentum=SGD["momentum"],
            optimizer__weight_decay=SGD["weight_decay"],
            max_epochs=2,
            batch_size=128,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )
        rounds, case = 3 if quick else 9, f"MLP {d}-{width}-10"
        yield compare(
            f"fit, {case}",
            ("skorch", lambda stock=stock, x=x, y=y: stock.fit(x, y)),
            ("ours", lambda ours=ours, x=x, y=y: ours.fit(x, y)),
            speedup=2,
            rounds=rounds,
            budget=25,
        )
        stock.module_.load_state_dict(ours.net_.module_.state_dict())
        np.testing.assert_allclose(stock.predict_proba(x), ours.predict_proba(x), atol=1e-6)
        yield compare(
            f"predict_proba, {case}",
            ("skorch", lambda stock=stock, x=x: stock.predict_proba(x)),
            ("ours", lambda ours=ours, x=x: ours.predict_proba(x)),
            speedup=5,
            rounds=rounds,
            budget=15,
        )


def has_bfloat16() -> bool:
    return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
