"""CIFAR-10 at full size: one method, one kind of label noise, one seed, one line of JSON.

    python benchmarks/cifar10.py --method elr --noise sym40 --seed 0

trains on 45,000 class-stratified images, watches accuracy on 5,000 held-out *noisy* labels and on the 10,000 test
images after every epoch, and appends to ``docs/benchmarks/results/cifar10.jsonl`` the test accuracy at the last epoch
and at the best noisy-validation epoch, how well the flips were found, speed, memory and versions. Networks,
optimizers and schedules are the papers' (``from_paper``) where a method has them, and ELR's for the baselines, so that
rows compare. Two departures, as everywhere in the package: statistics for normalisation are taken from the training
images, and ELR+'s ramps are fractions of the training.

Noise is drawn in both parts, anew for each seed: ``sym*`` with the true class among the drawn labels (ELR's and
DivideMix's convention: "40 %" is 36 % wrong), ``asym40`` by the ELR authors' own sequential generator (18.4 % wrong),
``sym*-others`` and ``asym40-once`` without and in one pass (MOIT's: 40 % and 20 % wrong), ``cifar10n-*`` are the human
labels of CIFAR-10N. Published numbers stand beside ours only where the noise is theirs, each with its network and the
epoch at which it was taken: at the best noisy-validation epoch, as ``test_best_valid`` is, or at the best *test* epoch,
which nobody could choose.

**Fast**: ``--setting fast`` trains a shallow, wide network in 20 epochs of large batches under a one-cycle schedule,
compiled on a GPU: seconds instead of minutes, for trying things out. What is published beside it took minutes.

**All of it**: ``--suite`` runs what is listed in :data:`SUITE` and has no line yet, cheap methods first. ``--smallest``
is its form for a CPU: 500 images, two epochs, a small network; its numbers mean nothing.

**Time slices.** ``--minutes 9`` stops at the end of the epoch in which the time is up, prints "unfinished: run again"
and exits with 75; the same command goes on from its checkpoint, as if it had not stopped (bit for bit on a CPU).
Checkpoints are written only with ``--minutes`` (to the temporary folder) or ``--checkpoint FILE``, after every epoch;
a run that came to its end deletes its own.

**Data in two transfers.** The four files (README of ``docs/benchmarks/results``) come to 104 MiB. Where one transfer
takes 64 MiB at most, send ``cifar10_train_1.npz``, ``cifar10_test.npz`` and ``cifar10n_labels.npz`` first and
``cifar10_train_2.npz`` next, and after each collect them in a folder that survives between commands::

    python benchmarks/cifar10.py --stage inbox --data-home staged     # exits with 75: train_2 is still missing
    python benchmarks/cifar10.py --stage inbox --data-home staged && \
        python benchmarks/cifar10.py --data-home staged --method elr --noise sym40 --results out/cifar10.jsonl

Where the package is not installed, set ``PYTHONPATH`` to the root of the checkout.
"""

from __future__ import annotations

import argparse
import copy
import functools
import inspect
import json
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.utils.data import Subset
from torch.utils.flop_counter import FlopCounterMode

import robustlabels
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
    detection_report,
)
from robustlabels.base import BaseMetaClassifier
from robustlabels.benchmark import append_row, read_rows
from robustlabels.datasets import NoisyDataset, load_cifar10
from robustlabels.net import AccuracyCurve, Rows, resolve_device, unwrap
from robustlabels.noise import CIFAR10_PAIRS, AsymmetricNoise, SymmetricNoise
from robustlabels.objective import AtPrecision

METHODS = {
    "ce": CrossEntropyClassifier,
    "gce": GCEClassifier,
    "sce": SCEClassifier,
    "coteaching": CoTeachingClassifier,
    "elr": ELRClassifier,
    "elr+": ELRPlusClassifier,
    "moit": MOITClassifier,
    "moit+": MOITPlusClassifier,
    "pemm": PEMMClassifier,
    "dividemix": DivideMixClassifier,
    "sanm(dividemix)": SANMClassifier,
}

SIMULATED = {
    **{
        f"sym{percent}": functools.partial(SymmetricNoise, percent / 100, include_true_class=True)
        for percent in (20, 40, 60, 80)
    },
    "asym40": functools.partial(AsymmetricNoise, 0.4, CIFAR10_PAIRS, sequential=True),
    **{f"sym{percent}-others": functools.partial(SymmetricNoise, percent / 100) for percent in (20, 40, 80)},
    "asym40-once": functools.partial(AsymmetricNoise, 0.4, CIFAR10_PAIRS),
}
HUMAN = {"cifar10n-aggre": "aggre", "cifar10n-random1": "random1", "cifar10n-worse": "worse"}
NOISE = ["clean", *SIMULATED, *HUMAN]

SUITE: list[tuple[str, str, int | None]] = [
    *(("pemm", noise, None) for noise in ("sym40", "cifar10n-worse")),
    *(("ce", noise, None) for noise in ("sym40", "sym40-others", "cifar10n-worse")),
    *(("elr", noise, None) for noise in ("sym20", "sym40", "sym80", "asym40", "cifar10n-worse")),
    *(("elr+", noise, None) for noise in ("sym40", "cifar10n-worse")),
    *(("moit", noise, None) for noise in ("sym40-others", "cifar10n-worse")),
    *(("moit+", noise, None) for noise in ("sym40-others", "cifar10n-worse")),
    *(("dividemix", noise, None) for noise in ("sym20", "sym40", "cifar10n-worse")),
    *(("sanm(dividemix)", noise, 60) for noise in ("sym40", "cifar10n-worse")),
]
"""Methods, noise and, where the paper's training is cut short, epochs of ``--suite``."""

# ELR's, CE's, GCE's, SCE's: Liu et al. (2020), tables 1 (five noise realisations) and 2 (ELR+): test accuracy in
# percent. DivideMix's as quoted there, table 2. MOIT's: Ortego et al. (2021), table 6. CIFAR-10N: its authors'
# leaderboard page. PEMM has no number that we know of, SANM none for these labels.
PUBLISHED: dict[tuple[str, str], tuple[float, float | None]] = {
    ("ce", "sym20"): (86.98, 0.12),
    ("ce", "sym40"): (81.88, 0.29),
    ("ce", "sym60"): (74.14, 0.56),
    ("ce", "sym80"): (53.82, 1.04),
    ("ce", "asym40"): (80.11, 1.44),
    ("gce", "sym20"): (89.83, 0.20),
    ("gce", "sym40"): (87.13, 0.22),
    ("gce", "sym60"): (82.54, 0.23),
    ("gce", "sym80"): (64.07, 1.38),
    ("gce", "asym40"): (76.74, 0.61),
    ("sce", "sym20"): (89.83, 0.32),
    ("sce", "sym40"): (87.13, 0.26),
    ("sce", "sym60"): (82.81, 0.61),
    ("sce", "sym80"): (68.12, 0.81),
    ("sce", "asym40"): (82.51, 0.45),
    ("elr", "sym20"): (91.16, 0.08),
    ("elr", "sym40"): (89.15, 0.17),
    ("elr", "sym60"): (86.12, 0.49),
    ("elr", "sym80"): (73.86, 0.61),
    ("elr", "asym40"): (90.12, 0.47),
    ("elr cosine", "sym20"): (92.12, 0.35),
    ("elr cosine", "sym40"): (91.43, 0.21),
    ("elr cosine", "sym60"): (88.87, 0.24),
    ("elr cosine", "sym80"): (80.69, 0.57),
    ("elr cosine", "asym40"): (90.35, 0.38),
    ("elr+", "sym20"): (94.6, None),
    ("elr+", "sym80"): (91.1, None),
    ("elr+", "asym40"): (92.7, None),
    ("dividemix", "sym20"): (96.1, None),
    ("dividemix", "sym80"): (93.2, None),
    ("dividemix", "asym40-once"): (93.4, None),
    ("ce", "sym20-others"): (78.93, None),
    ("ce", "sym40-others"): (55.06, None),
    ("ce", "sym80-others"): (33.09, None),
    ("ce", "asym40-once"): (76.04, None),
    ("moit", "sym20-others"): (92.88, None),
    ("moit", "sym40-others"): (90.55, None),
    ("moit", "sym80-others"): (70.53, None),
    ("moit", "asym40-once"): (92.27, None),
    ("moit+", "sym20-others"): (94.08, None),
    ("moit+", "sym40-others"): (91.95, None),
    ("moit+", "sym80-others"): (75.83, None),
    ("moit+", "asym40-once"): (93.27, None),
    ("elr", "cifar10n-aggre"): (92.38, None),
    ("elr+", "cifar10n-aggre"): (94.83, None),
}

FAST: dict[str, Any] = {
    "module": "fast",
    "batch_size": 1024,
    "max_epochs": 20,
    "lr": 1.0,
    "lr_schedule": "one_cycle",
    "optimizer__momentum": 0.85,
    "optimizer__nesterov": True,
    "optimizer__weight_decay": 1e-3,
    "augment": "standard",
}
"""``--setting fast``: airbench's shape of network, schedule and batch, without its label smoothing, which is a defence
against noise of its own, and without averaging over views at test; compiled on a GPU."""

FILES = ("cifar10_train_1.npz", "cifar10_train_2.npz", "cifar10_test.npz", "cifar10n_labels.npz")
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "results" / "cifar10.jsonl"
UNFINISHED = 75  # EX_TEMPFAIL: try again
N_CLASSES = 10


# --- data -------------------------------------------------------------------------------------------------------------


def stage(source: Path, target: Path) -> list[str]:
    """Copy what is there of the four files; returns the names still missing in ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (source / name).is_file():
            partial = target / f".{name}.partial"
            shutil.copyfile(source / name, partial)
            partial.replace(target / name)  # a broken-off copy never looks like the file
    return [name for name in FILES if not (target / name).is_file()]


@dataclass(frozen=True, eq=False, repr=False)
class HeldOut:
    """skorch's ``train_split`` into given rows, of whatever part of them a stage trains on."""

    train: np.ndarray
    valid: np.ndarray

    def __call__(self, dataset: Any, y: Any = None, groups: Any = None) -> tuple[Subset, Subset]:
        """Both parts of the data set."""
        held_out = np.isin(dataset.index.cpu().numpy(), self.valid)
        return Subset(dataset, np.flatnonzero(~held_out)), Subset(dataset, np.flatnonzero(held_out))

    def __repr__(self) -> str:  # names the split in a checkpoint, so nothing of this process may be in it
        return f"HeldOut({len(self.train)} + {len(self.valid)} rows, {zlib.crc32(self.valid.tobytes()):08x})"


@dataclass(frozen=True, eq=False)
class Task:
    """Training images with given and true labels, what is held out of them, and test images."""

    X: np.ndarray
    y_given: np.ndarray
    y_true: np.ndarray
    split: HeldOut
    X_test: np.ndarray
    y_test: np.ndarray


def make_task(data: NoisyDataset, noise: str, seed: int, n_rows: int | None = None) -> Task:
    """Choose rows and split them 9 : 1, class by class, and make the labels of both parts noisy."""
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(data.y_train == label)) for label in range(N_CLASSES)]
    if n_rows is not None:
        by_class = [rows[: n_rows // N_CLASSES] for rows in by_class]
    chosen = np.sort(np.concatenate(by_class))
    held_out = np.concatenate([rows[: len(rows) // 10] for rows in by_class])
    is_valid = np.isin(chosen, held_out)
    split = HeldOut(np.flatnonzero(~is_valid), np.flatnonzero(is_valid))
    y_true = data.y_train[chosen]
    if noise in HUMAN:
        y_given = data.y_noisy[HUMAN[noise]][chosen]
    else:
        y_given = y_true.copy()
        if noise in SIMULATED:
            for part in (split.train, split.valid):
                y_given[part] = SIMULATED[noise](random_state=rng).flip(y_true[part])
    if np.unique(y_given).size < N_CLASSES:
        raise ValueError(f"--rows {n_rows} leaves some of the {N_CLASSES} classes without a label; take more rows.")
    n_test = len(data.X_test) if n_rows is None else min(n_rows, len(data.X_test))
    return Task(data.X_train[chosen], y_given, y_true, split, data.X_test[:n_test], data.y_test[:n_test])


# --- the classifier ---------------------------------------------------------------------------------------------------


def make_classifier(
    method: str, noise: str, *, setting: str | None = None, epochs: int | None = None, **params: Any
) -> Any:
    """The published settings, ELR's for a baseline that has none; with ``epochs`` the schedule's steps move along.

    Parameters that are not SANM's are its host's.
    """
    cls = METHODS[method]
    if cls is SANMClassifier:
        own = {name: params.pop(name) for name in set(params) & set(cls().get_params(deep=False))}
        host = make_classifier("dividemix", noise, setting=setting, epochs=epochs, **params)
        return cls.from_paper("cifar10", host).set_params(warmup=host.warmup, **own)
    if setting == "fast":
        return cls(**FAST).set_params(**({} if epochs is None else {"max_epochs": epochs}), **params)
    setting = setting or default_setting(cls, noise)
    if hasattr(cls, "from_paper"):
        clf = cls.from_paper(setting)
    else:
        common = set(CrossEntropyClassifier().get_params()) & set(cls().get_params())
        paper = ELRClassifier.from_paper(setting).get_params()
        clf = cls(**{name: value for name, value in paper.items() if name in common or "__" in name})
    if epochs is not None:
        if isinstance(clf.lr_schedule, dict):
            steps = {round(epoch * epochs / clf.max_epochs): factor for epoch, factor in clf.lr_schedule.items()}
            clf.set_params(lr_schedule=steps)
        counted = {name: value for name, value in clf.get_params().items() if name in ("warmup", "ramp")}
        clf.set_params(**{n: max(1, round(v * epochs / clf.max_epochs)) for n, v in counted.items() if v >= 1})
        clf.set_params(max_epochs=epochs)
    return clf.set_params(**params)


def default_setting(cls: type, noise: str) -> str:
    """Which of a paper's settings is for this noise, or ELR's."""
    if issubclass(cls, DivideMixClassifier):
        known = {"sym20": "-sym20", "sym80": "-sym80", "asym40": "-asym40", "asym40-once": "-asym40"}
        return f"cifar10{known.get(noise, '')}"
    if issubclass(cls, MOITClassifier):
        return "cifar10"
    return "cifar10-asym" if noise.startswith("asym") else "cifar10-sym"


class TestAccuracy(AccuracyCurve):
    """Accuracy on the test images after every epoch, into the history and onto the screen.

    Attributes
    ----------
    histories : list
        Of every stage.
    """

    __test__ = False  # not a pytest class

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        super().__init__(X, y)
        self.histories: list[Any] = []

    def on_train_begin(self, net: Any, X: Any = None, **_: Any) -> None:
        """A stage begins, or goes on."""
        super().on_train_begin(net, X)
        self.histories.append(net.history)

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Count from here."""
        self.rows_trained_ = 0

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Count the rows that were trained on: a method may take fewer than there are, or some of them twice."""
        self.rows_trained_ += len(batch[1]) * training

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Measure, and print."""
        super().on_epoch_end(net)
        net.history.record("rows_trained", self.rows_trained_)
        row = net.history[-1]
        print(
            f"epoch {len(net.history):3d}  loss {row['train_loss']:7.4f}  noisy validation {row['valid_acc']:.4f}  "
            f"test {row['test_acc']:.4f}  {row['dur']:.2f} s",
            flush=True,
        )


class OutOfTime(KeyboardInterrupt):
    """The time slice is used up."""


class TimeSlice(Callback):
    """Interrupt the training before the first epoch after ``deadline``, but not before one epoch is done.

    Raised at the beginning of an epoch, not at the end: there skorch's custom takes it for early stopping, and the
    last epoch's checkpoint is not yet written.

    Parameters
    ----------
    deadline : float
        On the clock of :func:`time.monotonic`.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Remember where this slice started."""
        self.first_ = len(net.history)

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Look at the clock; the new epoch's row of the history is there already."""
        if time.monotonic() > self.deadline and len(net.history) - 1 > self.first_:
            raise OutOfTime


# --- what is measured -------------------------------------------------------------------------------------------------


def matmul_peak(device: str, dtype: torch.dtype, seconds: float = 1.0) -> float:
    """FLOP/s of a large matrix product of random numbers (zeros would be faster) on a device."""
    cuda = torch.device(device).type == "cuda"
    size = 8192 if cuda else 1024
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    repeats = 3
    while True:
        start = time.perf_counter()
        for _ in range(repeats):
            a @ b
        if cuda:
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - start
        if elapsed > seconds / 2:
            return 2 * size**3 * repeats / elapsed
        repeats = int(repeats * min(10, 1 + seconds / elapsed))


def work(net: Any, X: np.ndarray, y: np.ndarray, layout: str) -> tuple[float, float]:
    """FLOP per training row and epoch, forward and backward as the method runs them, and of one row's prediction.

    Counted on copies: a training step moves the method's memory.
    """
    size = min(net.batch_size, len(X))
    rows = Rows(X[:size], torch.as_tensor(y[:size]), n_classes=N_CLASSES, layout=layout, device=str(net.device))
    module, objective = copy.deepcopy((unwrap(net), net.criterion_))
    kind = torch.device(net.device).type
    model = module if net.autocast is None else AtPrecision(module, kind, net.autocast)
    module.train()
    objective.train()
    with FlopCounterMode(display=False) as step:
        for turn in range(objective.n_turns):
            loss, _ = objective(model, rows.batch(*rows.read(rows.index, turn)))
            loss.backward()
    module.eval()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model(rows.inputs(rows.index))
    return step.get_total_flops() / size, forward.get_total_flops() / size


def peak_memory(device: str) -> dict[str, Any]:
    """MiB: the device's allocations since the reset, or the whole process on a CPU."""
    if torch.device(device).type == "cuda":
        return {"peak_memory_mib": torch.cuda.max_memory_allocated(device) / 2**20, "peak_memory_of": "device"}
    unit = 2**20 if sys.platform == "darwin" else 2**10
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_mib": rss / unit, "peak_memory_of": "process"}


def device_name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def accuracies(history: Any) -> dict[str, Any]:
    """Test accuracy at the last epoch and at the best noisy-validation epoch, ties going to the later one."""
    valid, test = history[:, "valid_acc"], history[:, "test_acc"]
    best = max(range(len(valid)), key=lambda epoch: (valid[epoch], epoch))
    return {
        "test_last": test[-1],
        "test_best_valid": test[best],
        "best_valid_epoch": best + 1,
        "valid_last": valid[-1],
        "valid_best": valid[best],
        "train_loss_last": history[-1, "train_loss"],
    }


def detection(clf: Any, task: Task) -> dict[str, Any]:
    """How well the flips among the training rows were found; None each where there are none."""
    part = task.split.train
    flips = task.y_given[part] != task.y_true[part]
    found: dict[str, Any] = dict.fromkeys(f"detection_{name}" for name in ("ap", "auroc", "precision", "recall"))
    if flips.any():
        report = detection_report(clf.noise_scores_[part], flips, noise_mask=clf.noise_mask_[part])
        found = {
            "detection_ap": report.average_precision,
            "detection_auroc": report.roc_auc,
            "detection_precision": report.precision,
            "detection_recall": report.recall,
        }
    return {"noise_rate": float(flips.mean()), "estimated_noise_rate": clf.noise_rate_, **found}


def speed(clf: Any, task: Task, peak_seconds: float) -> dict[str, Any]:
    """Rows a second, seconds an epoch (validation included, test not) and the share of the matrix-product peak.

    Of a method in two stages the second.
    """
    net, history = clf.net_, clf.net_.history
    durations = history[:, "dur"]
    epoch = statistics.median(durations[1:] or durations)  # the first one warms up
    trained = history[:, "rows_trained"]  # in all turns
    n_train = statistics.median(trained[1:] or trained)
    per_row, per_prediction = work(net, task.X, task.y_given, clf.layout_)
    rate = (n_train * per_row / net.criterion_.n_turns + len(task.split.valid) * per_prediction) / epoch
    cuda = torch.device(net.device).type == "cuda"
    dtype = torch.bfloat16 if cuda else net.autocast or torch.float32
    peak = matmul_peak(str(net.device), dtype, peak_seconds)
    return {
        "samples_per_second": n_train / epoch,
        "seconds_per_epoch": epoch,
        "gflop_per_row_and_epoch": per_row / 1e9,
        "tflops": rate / 1e12,
        "peak_tflops": peak / 1e12,
        "peak_dtype": str(dtype).removeprefix("torch."),
        "share_of_peak": rate / peak,
    }


def published(method: str, noise: str, setting: str | None) -> dict[str, Any] | None:
    """What the papers report, with which network, and at which epoch it was taken."""
    name = f"{method} cosine" if setting is not None and setting.endswith("-cosine") else method
    if (name, noise) not in PUBLISHED:
        return None
    mean, spread = PUBLISHED[name, noise]
    if noise in HUMAN:
        network, epoch = None, "unread"
    elif method == "dividemix":
        network, epoch = "preact_resnet18", "best test"
    elif noise.endswith(("-others", "-once")):
        network, epoch = "preact_resnet18", "not stated"
    else:
        network, epoch = "preact_resnet18" if method == "elr+" else "resnet34", "best noisy validation"
    return {"accuracy": mean, "spread": spread, "module": network, "epoch": epoch}


def summary(result: dict[str, Any]) -> str:
    """The result on one line."""
    short = f" instead of {result['paper_epochs']}" if result["max_epochs"] < result["paper_epochs"] else ""
    what = f"{result['module']}, {result['max_epochs']} epochs{short}, {result['rows_trained']} rows"
    line = (
        f"{result['method']} on {result['noise']}, seed {result['seed']}, {what}: "
        f"test {100 * result['test_last']:.2f} % at the last epoch, "
        f"{100 * result['test_best_valid']:.2f} % at the best noisy-validation epoch ({result['best_valid_epoch']})"
    )
    if result["published"]:
        theirs = result["published"]
        spread = "" if theirs["spread"] is None else f" ± {theirs['spread']:.2f}"
        where = "leaderboard" if theirs["module"] is None else f"published there with {theirs['module']}"
        line += f", {where} {theirs['accuracy']:.2f}{spread} % (epoch: {theirs['epoch']})"
    if result["detection_ap"] is not None:
        line += (
            f"; flips found with AP {result['detection_ap']:.4f}, AUROC {result['detection_auroc']:.4f}, "
            f"precision {result['detection_precision']:.3f}, recall {result['detection_recall']:.3f}"
        )
    return line + (
        f"; {result['samples_per_second']:,.0f} samples/s, {result['seconds_per_epoch']:.2f} s/epoch, "
        f"{result['seconds']:.0f} s in all, {100 * result['share_of_peak']:.1f} % of {result['peak_tflops']:.1f} "
        f"TFLOP/s {result['peak_dtype']}, {result['peak_memory_mib']:.0f} MiB on {result['device']}"
    )


# --- one run ----------------------------------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> int:
    """Train or go on, and report if the training came to its end."""
    started = time.monotonic()
    device = resolve_device(args.device)
    if torch.device(device).type == "cuda":
        torch.cuda.init()  # else there are no statistics to reset
        torch.backends.cudnn.benchmark = True
        torch.cuda.reset_peak_memory_stats(device)
    task = make_task(load_cifar10(data_home=args.data_home), args.noise, args.seed, args.rows)
    params: dict[str, Any] = dict(args.param)
    for name in ("module", "batch_size"):
        if getattr(args, name) is not None:
            params[name] = getattr(args, name)
    make = functools.partial(make_classifier, args.method, args.noise, setting=args.setting)
    clf = make(epochs=args.epochs, **params)
    inner = "estimator__" if isinstance(clf, BaseMetaClassifier) else ""
    trained = clf.estimator if inner else clf
    checkpoint = None
    if args.minutes is not None or args.checkpoint is not None:
        checkpoint = args.checkpoint or default_checkpoint(args, trained)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    watch = TestAccuracy(task.X_test, task.y_test)
    callbacks: list[Callback] = [watch]
    if args.minutes is not None:
        callbacks.append(TimeSlice(started + 60 * args.minutes))
    its = {
        "device": device,
        "precision": args.precision,
        "train_split": task.split,
        "random_state": args.seed,
        "callbacks": callbacks,
        "checkpoint": checkpoint,
    }
    if args.setting == "fast" and torch.device(device).type == "cuda":
        its["compile"] = True
    clf.set_params(**{"random_state": args.seed, **{inner + name: value for name, value in its.items()}})
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="fit was interrupted")
            clf.fit(task.X, task.y_given)
    except OutOfTime:
        net, epochs = watch.histories[-1], trained.max_epochs
        stage = f" of stage {len(watch.histories)}" if len(watch.histories) > 1 else f" of {epochs}"
        print(f"unfinished: run again ({len(net)}{stage} epochs done, checkpoint {checkpoint})")
        return UNFINISHED
    memory = peak_memory(device)
    paper = make()
    found, trained = clf, clf.estimator_ if inner else clf
    result = {
        "benchmark": "cifar10",
        "method": args.method,
        "noise": args.noise,
        "seed": args.seed,
        "setting": args.setting or "default",
        "module": trained.module,
        "params": {name: value for name, value in clf.get_params().items() if is_plain(value)},
        "epochs": sum(map(len, watch.histories)),
        "max_epochs": trained.max_epochs,
        "paper_epochs": (paper.estimator if inner else paper).max_epochs,
        "batch_size": trained.net_.batch_size,
        "rows_asked": args.rows,
        "rows_trained": len(task.split.train),
        "rows_validation": len(task.split.valid),
        "rows_test": len(task.y_test),
        **accuracies(trained.net_.history),
        "published": published(args.method, args.noise, args.setting),
        **detection(found, task),
        **speed(trained, task, 1.0 if torch.device(device).type == "cuda" else 0.1),
        "seconds": sum(sum(h[:, "dur"]) + sum(h[:, "test_dur"]) for h in watch.histories),
        **memory,
        "precision": str(trained.net_.autocast or torch.float32).removeprefix("torch."),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "versions": {
            "robustlabels": robustlabels.__version__,
            **{name: version(name) for name in ("torch", "skorch", "scikit-learn", "numpy")},
            "cuda": torch.version.cuda,
            "python": platform.python_version(),
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    append_row(args.results, result)
    if checkpoint is not None:
        for file in checkpoint.parent.glob(f"{checkpoint.name}*"):  # one a stage
            file.unlink()
    print(summary(result))
    return 0


def run_suite(args: argparse.Namespace) -> int:
    """All of :data:`SUITE` that has no line yet; a time slice is one for all of it."""
    deadline = None if args.minutes is None else time.monotonic() + 60 * args.minutes
    for method, noise, epochs in SUITE:
        if args.suite and method not in args.suite:
            continue
        one = argparse.Namespace(**{**vars(args), "method": method, "noise": noise, "epochs": args.epochs or epochs})
        if any(is_of(row, one) for row in read_rows(args.results)):
            print(f"{method} on {noise}: stored")
            continue
        print(f"{method} on {noise}", flush=True)
        if deadline is not None:
            one.minutes = max(0.0, (deadline - time.monotonic()) / 60)
        status = run(one)
        if status:
            return status
    return 0


def is_of(row: dict[str, Any], args: argparse.Namespace) -> bool:
    """Whether a stored line is what these arguments would make."""
    params = {name if name in row.get("params", {}) else f"estimator__{name}": value for name, value in args.param}
    return (
        all(row.get(name) == getattr(args, name) for name in ("method", "noise", "seed"))
        and row["setting"] == (args.setting or "default")
        and row["max_epochs"] == (args.epochs or row["paper_epochs"])
        and row["module"] == (args.module or row["module"])
        and row["batch_size"] == (args.batch_size or row["batch_size"])
        and row["rows_asked"] == args.rows
        and all(row["params"].get(name) == value for name, value in params.items())
    )


def is_plain(value: Any) -> bool:
    """Whether JSON keeps a parameter."""
    if isinstance(value, dict):
        return all(is_plain(v) for v in value.values())
    return value is None or isinstance(value, bool | int | float | str)


def default_checkpoint(args: argparse.Namespace, clf: Any) -> Path:
    """A file in the temporary folder, another one for every other run."""
    what = [args.method, args.noise, args.seed, args.setting, args.rows, args.precision, args.param, clf.module]
    code = zlib.crc32(repr([*what, clf.max_epochs, clf.batch_size]).encode())
    folder = Path(tempfile.gettempdir()) / f"robustlabels-cifar10-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    return folder / f"{args.method}-{args.noise}-{args.seed}-{code:08x}.ckpt"


def parameter(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not (separator and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    description, _, epilog = inspect.cleandoc(__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", choices=METHODS, default="elr", help="default: elr")
    parser.add_argument("--noise", choices=NOISE, default="sym40", metavar="NOISE", help=f"{', '.join(NOISE)}")
    parser.add_argument("--seed", type=int, default=0, help="of split, noise and training; default: 0")
    parser.add_argument("--module", help="network preset: resnet34, preact_resnet18, cnn …; default: the paper's")
    parser.add_argument("--setting", help="of from_paper, such as cifar10-sym-cosine, or fast; default: by the noise")
    parser.add_argument("--epochs", type=int, help="the schedule is scaled along; default: the paper's")
    parser.add_argument("--batch-size", type=int, help="default: the paper's")
    parser.add_argument("--rows", type=int, help="only so many training (9 : 1) and at most so many test images")
    parser.add_argument(
        "--param", type=parameter, action="append", default=[], metavar="NAME=JSON", help="any parameter: lam=7"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument(
        "--suite", nargs="*", choices=METHODS, metavar="METHOD", help="all that is listed, or only these"
    )
    parser.add_argument("--smallest", action="store_true", help="500 images, 2 epochs, a small network: does it run?")
    parser.add_argument("--minutes", type=float, help="stop at an epoch's end after these, with exit status 75")
    parser.add_argument("--checkpoint", type=Path, help="go on from this file; default with --minutes: a temporary one")
    parser.add_argument("--data-home", type=Path, help="default: $ROBUSTLABELS_DATA")
    parser.add_argument("--stage", type=Path, metavar="FROM", help="only copy the data from there to --data-home")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"append there; default: {RESULTS.name}")
    args = parser.parse_args(argv)
    if args.smallest:
        args.rows, args.epochs, args.batch_size = args.rows or 500, args.epochs or 2, args.batch_size or 32
        if args.module is None:
            args.module, args.param = "cnn", [("module__width", 4), *args.param]
    if args.stage is not None and args.data_home is None:
        parser.error("--stage needs --data-home: the folder in which the files are collected")
    if args.rows is not None and args.rows < 10 * N_CLASSES:
        parser.error(f"--rows must be at least {10 * N_CLASSES}, ten of each class, got {args.rows}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.stage is not None:
        missing = stage(args.stage, args.data_home)
        print(f"{args.data_home}: " + (f"still missing {', '.join(missing)}" if missing else "complete"))
        return UNFINISHED if missing else 0
    return run(args) if args.suite is None else run_suite(args)


if __name__ == "__main__":
    sys.exit(main())
