"""An epoch of every method, in full force, beside one of cross-entropy on the same rows, network and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import nn

from benchmarks.speed.harness import Ratio, benchmark, costs
from benchmarks.speed.nets import PlainCNN, PlainMLP
from benchmarks.speed.training import bare_loop, classifier, epochs_of, seeded
from robustlabels import (
    CoTeachingClassifier,
    CrossEntropyClassifier,
    DivideMixClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    GCEClassifier,
    MOITClassifier,
    MOITPlusClassifier,
    PEMMClassifier,
    SANMClassifier,
    SCEClassifier,
)
from robustlabels.noise import SymmetricNoise

RATE = 0.4
"""Share of wrong labels."""

LEARNED = 12_000
"""Rows, counted as often as they are seen, from which the networks first learned the right labels."""


def groups(n: int, *shape: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of ten classes that can be learned, their right labels, and labels of which ``RATE`` are wrong."""
    rng = np.random.default_rng(0)
    true = np.arange(n) % 10
    x = rng.standard_normal((n, *shape), dtype=np.float32)
    x += 0.5 * rng.standard_normal((10, *shape), dtype=np.float32)[true]
    return x, true, SymmetricNoise(RATE, random_state=0).flip(true)


def methods(module: nn.Module) -> dict[str, Any]:
    """Every method such that the last epoch of its fit is one in full force: nothing waits for a later one.

    It is the second of two, for MOIT's bank is full by then, but for MOIT+: its second stage has one.
    """

    def make(method: type, **params: Any) -> Any:
        return classifier(method, module, **{"max_epochs": 2, **params})

    views = {"augment": "strong"}  # two views of a row that are alike teach nothing
    now = {**views, "memory_start": 0, "correction_start": 0}
    return {
        "cross-entropy": make(CrossEntropyClassifier),
        "cross-entropy, augmented": make(CrossEntropyClassifier, **views),
        "GCE": make(GCEClassifier),
        "SCE": make(SCEClassifier),
        "Co-teaching": make(CoTeachingClassifier, noise_rate=RATE, warmup=0.0, forget_rampup=0.0),
        "ELR": make(ELRClassifier),
        "ELR+": make(ELRPlusClassifier),
        "PEMM": make(PEMMClassifier),
        "SANM(cross-entropy)": SANMClassifier(make(CrossEntropyClassifier), warmup=0),
        "MOIT": make(MOITClassifier, **now),
        "MOIT+, second stage": make(MOITPlusClassifier, max_epochs=1, finetune_epochs=1, **now),
        "DivideMix": make(DivideMixClassifier, warmup=0, ramp=0, **views),
    }


@benchmark
def epochs(quick: bool) -> Iterator[Ratio]:
    """An epoch of every method in full force, against one of cross-entropy; 40 % of the labels are wrong."""
    rows, images = (1_000, 520) if quick else (6_000, 640)  # fewer than 514 have no bank
    cases: tuple[tuple[str, Callable[[], nn.Module], int, tuple[int, ...]], ...] = (
        ("MLP 784-256-10, {:,} rows", PlainMLP, rows, (784,)),
        ("PlainCNN, {:,} images", PlainCNN, images, (1, 28, 28)),
    )
    for case, network, n, shape in cases:
        x, true, y = groups(n, *shape)
        module = bare_loop(seeded(network), x, true, epochs=-(-LEARNED // n))
        estimators = methods(module)
        for name in ("DivideMix", "MOIT+, second stage"):  # what they cost depends on how many labels they believe
            share = estimators[name].fit(x, y).clean_mask_.mean()
            assert 0.4 < share < 0.8, f"{name} believes {share:.0%} of the labels; {1 - RATE:.0%} are right"
        timed = {name: epochs_of(estimator, x, y, last=True) for name, estimator in estimators.items()}
        base = "cross-entropy"
        others = {name: run for name, run in timed.items() if name != base}
        yield from costs(
            case.format(n), (base, timed[base]), others, rounds=3 if quick else 9, budget=20 if quick else 55
        )
