"""CIFAR-10 at full size: one method, one kind of label noise, one seed, one line of JSON.

    python -m benchmarks.studies.cifar10 --method elr --noise sym40 --seed 0

trains as the method's paper does, watches accuracy on the 10,000 test images after every epoch, and appends to
``docs/benchmarks/results/cifar10.jsonl`` the test accuracy at the last epoch and at the best noisy-validation epoch,
how well the flips were found, speed, memory and versions. Networks, optimizers and schedules are the papers'
(``from_paper``) where a method has them, and ELR's for the baselines, so that rows compare; under MOIT's noise the
baselines take MOIT's network, schedule, batches and augmentation.

Rows are the papers', too. ELR, ELR+ and the baselines train on 45,000 class-stratified images and watch 5,000 held-out
*noisy* labels. MOIT, MOIT+, PEMM, DivideMix and SANM, and the baselines under MOIT's noise, train on all 50,000 and
have no noisy validation, as in their scripts (PEMM's paper we have not seen; its script holds none out).
``--validation yes`` or ``no`` says otherwise. One departure, as everywhere in the package: statistics for
normalization are taken from the training images.

Noise is drawn in both parts, anew for each seed: ``sym*`` with the true class among the drawn labels (ELR's and
DivideMix's convention: "40 %" is 36 % wrong), ``asym40`` by the ELR authors' own sequential generator (18.4 % wrong),
``sym*-others`` and ``asym40-once`` without and in one pass (MOIT's: 40 % and 20 % wrong), ``cifar10n-*`` are the human
labels of CIFAR-10N. Published numbers stand beside ours only where noise and settings are theirs, each with its
network and the epoch at which it was taken: at the best noisy-validation epoch, as ``test_best_valid`` is, or at the
best *test* epoch, which nobody could choose.

**Fast**: ``--setting fast`` trains a shallow, wide network in 20 epochs of large batches under a one-cycle schedule,
compiled on a GPU. The bar it aims at is :data:`BAR`: ELR*'s published 91.43 % under ``sym40`` in ten seconds of
training on one H200. ``seconds_training`` measures it; compilation, validation and test passes are counted apart.

**All of it**: ``--suite`` runs what is listed in :data:`SUITE` and has no line yet of the very same settings, cheap
methods first; ``--list`` prints it with the time that each run is expected to take. A run that fails is reported and
the next one begun. ``--smallest`` is its form for a CPU: 500 images, two epochs, a small network; its numbers mean
nothing. The exit status is 0 when all lines are there, 75 when the time was up and there is more to do, 3 when nothing
more fits into ``--left``, 1 when what is missing has failed.

**MOIT with MOIT+**: the first stage of a MOIT+ run is a whole MOIT, so that run appends MOIT's line as well.

**Time slices.** ``--minutes 9`` stops after the first epoch past that time that is in the checkpoint, prints
"unfinished: run again" and exits with 75; the same command goes on from there, as if it had not stopped (bit for bit on
a CPU). Checkpoints are written only with ``--minutes`` (to the temporary folder) or ``--checkpoint FILE``, after the
first and the last epoch, and in between so often that it takes a twentieth of the time; a run that came to its end
deletes its own. A process that is killed loses the epochs since the last one: they are done again. ``--left 25`` says
that the machine goes away after 25 minutes: runs that are expected to take longer are left out.

**A rented machine** that starts bare, takes 64 MiB at a time and gives back small files only. The data (README of
``docs/benchmarks/results``) come to 104 MiB: three transfers, each put into ``inbox/`` (git ignores it) and collected
in a folder outside the checkout, which survives from command to command::

    cifar10_train_1.npz and cifar10n_labels.npz;   then cifar10_train_2.npz;   then cifar10_test.npz

    python -m benchmarks.studies.cifar10 --stage inbox --data-home ~/staged        # 75 until all four are there

skorch is seldom installed there. Fetch its wheel at home (``pip download --no-deps -d .wheels skorch==1.4.0``), send
``.wheels/`` along, and begin every command with::

    pip install -q --no-index --no-deps --upgrade --target ~/site .wheels/*.whl
    export PYTHONPATH=~/site:$PWD

Then, again and again until it exits with 0, 1 or 3, with ``--left`` for what is left of the machine's time::

    lines=~/cifar10.jsonl; stored=docs/benchmarks/results/cifar10.jsonl
    [ -e $lines ] || [ ! -e $stored ] || cp $stored $lines                    # what is stored is not run again
    python -m benchmarks.studies.cifar10 --suite --minutes 8 --left 25 --data-home ~/staged --results $lines; status=$?
    cp $lines "$OUT/"; exit $status                                           # $OUT: the folder that comes back

and copy the file that came back over the stored one. A checkpoint does not come back: ResNet-34 and its momentum are
170 MB, which is more than such machines give back, so a run has to finish on the machine on which it began.
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
import traceback
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback
from torch.utils.data import Subset
from torch.utils.flop_counter import FlopCounterMode

import robustlabels
from benchmarks.results import path_of
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
from robustlabels.comparison import Row, append_row, find, make_row, read_rows, settings
from robustlabels.datasets import NoisyDataset, load_cifar10
from robustlabels.methods.moit import MOITObjective
from robustlabels.noise import CIFAR10_PAIRS, AsymmetricNoise, SymmetricNoise
from robustlabels.training.meta import BaseMetaClassifier
from robustlabels.training.net import AccuracyCurve, resolve_device, unwrap
from robustlabels.training.objective import AtPrecision
from robustlabels.training.rows import Rows

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
        for percent in (20, 40, 50, 60, 80, 90)
    },
    "asym40": functools.partial(AsymmetricNoise, 0.4, CIFAR10_PAIRS, sequential=True),
    **{f"sym{percent}-others": functools.partial(SymmetricNoise, percent / 100) for percent in (20, 40, 80)},
    "asym40-once": functools.partial(AsymmetricNoise, 0.4, CIFAR10_PAIRS),
}
HUMAN = {"cifar10n-aggre": "aggre", "cifar10n-random1": "random1", "cifar10n-worse": "worse"}
NOISE = ["clean", *SIMULATED, *HUMAN]
BASELINES = ("ce", "gce", "sce", "coteaching")
ALL_ROWS = ("moit", "moit+", "pemm", "dividemix", "sanm(dividemix)")
"""Methods whose papers hold no rows out."""


class Entry(NamedTuple):
    """One run of the suite; ``epochs`` where the paper's training is cut short."""

    method: str
    noise: str
    setting: str | None = None
    epochs: int | None = None


SUITE: list[Entry] = [
    *(Entry(method, "sym40", "fast") for method in ("ce", "elr")),
    *(Entry("pemm", noise) for noise in ("sym40", "cifar10n-worse")),
    *(Entry("ce", noise) for noise in ("sym20", "sym40", "sym80", "asym40", "sym40-others", "cifar10n-worse")),
    *(Entry("elr", noise) for noise in ("sym20", "sym40", "sym80", "asym40", "cifar10n-aggre", "cifar10n-worse")),
    Entry("elr", "sym40", "cifar10-sym-cosine"),
    *(Entry("elr+", noise) for noise in ("sym20", "sym80", "asym40", "cifar10n-aggre", "cifar10n-worse")),
    *(Entry("moit+", noise) for noise in ("sym40-others", "cifar10n-worse")),
    *(Entry("moit", noise) for noise in ("sym40-others", "cifar10n-worse")),
    *(Entry("dividemix", noise) for noise in ("sym20", "sym80", "asym40-once", "cifar10n-worse")),
    *(Entry("sanm(dividemix)", noise, epochs=60) for noise in ("sym40", "cifar10n-worse")),
]
"""What ``--suite`` runs, MOIT after the MOIT+ that brings it along."""

EPOCH_SECONDS = {
    "ce": 1.5,
    "gce": 1.5,
    "sce": 1.5,
    "coteaching": 3.0,
    "elr": 1.5,
    "elr+": 2.3,
    "moit": 2.5,
    "moit+": 2.5,
    "pemm": 0.3,
    "dividemix": 4.6,
    "sanm(dividemix)": 14.5,
}
"""Of the paper's settings on one H200, by arithmetic: work over a quarter of the tensor cores' peak, give or take 35 %.
What was measured since is preferred."""
FAST_EPOCH_SECONDS, START_SECONDS = 0.15, 30.0

# ELR's, CE's, GCE's, SCE's: Liu et al. (2020), tables 1 (five noise realizations) and 2 (ELR+): test accuracy in
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
    ("elr+", "sym50"): (93.8, None),
    ("elr+", "sym80"): (91.1, None),
    ("elr+", "sym90"): (75.2, None),
    ("elr+", "asym40"): (92.7, None),
    ("dividemix", "sym20"): (96.1, None),
    ("dividemix", "sym50"): (94.6, None),
    ("dividemix", "sym80"): (93.2, None),
    ("dividemix", "sym90"): (76.0, None),
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
    "batch_size": 1000,
    "max_epochs": 20,
    "lr": 1.0,
    "lr_schedule": "one_cycle",
    "optimizer__momentum": 0.85,
    "optimizer__nesterov": True,
    "optimizer__weight_decay": 1e-3,
    "augment": "standard",
    "compile": True,
}
"""``--setting fast``: airbench's shape of network, schedule and batch, without its label smoothing, which is a defence
against noise of its own, and without averaging over views at test. 1000 divides 45,000, 5,000 and 10,000: no batch is
smaller than the others, and nothing is compiled twice for one. On a CPU it is not compiled."""

BAR = {"noise": "sym40", "accuracy": 91.43, "seconds": 10.0, "device": "H200"}
"""What ``--setting fast`` aims at: ELR*'s published accuracy at the last epoch, in so many ``seconds_training``."""

FILES = ("cifar10_train_1.npz", "cifar10_train_2.npz", "cifar10_test.npz", "cifar10n_labels.npz")
RESULTS = path_of(__file__)
UNFINISHED = 75  # EX_TEMPFAIL: try again
NO_ROOM = 3
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


@functools.lru_cache(maxsize=1)
def load(data_home: Path | None) -> NoisyDataset:
    """CIFAR-10, once for all runs of a suite."""
    return load_cifar10(data_home=data_home)


@dataclass(frozen=True, eq=False, repr=False)
class HeldOut:
    """skorch's ``train_split`` into given rows, of whatever part of them a stage trains on; ``valid`` may be empty."""

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


def make_task(data: NoisyDataset, noise: str, seed: int, n_rows: int | None = None, *, validation: bool = True) -> Task:
    """Choose rows, split them 9 : 1, class by class, unless all are to train on, and make the labels noisy."""
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(data.y_train == label)) for label in range(N_CLASSES)]
    if n_rows is not None:
        by_class = [rows[: n_rows // N_CLASSES] for rows in by_class]
    chosen = np.sort(np.concatenate(by_class))
    held_out = np.concatenate([rows[: len(rows) // 10 * validation] for rows in by_class])
    is_valid = np.isin(chosen, held_out)
    split = HeldOut(np.flatnonzero(~is_valid), np.flatnonzero(is_valid))
    y_true = data.y_train[chosen]
    if noise in HUMAN:
        y_given = data.y_noisy[HUMAN[noise]][chosen]
    else:
        y_given = y_true.copy()
        if noise in SIMULATED:
            for part in (split.train, split.valid)[: 1 + validation]:
                y_given[part] = SIMULATED[noise](random_state=rng).flip(y_true[part])
    if np.unique(y_given).size < N_CLASSES:
        raise ValueError(f"--rows {n_rows} leaves some of the {N_CLASSES} classes without a label; take more rows.")
    n_test = len(data.X_test) if n_rows is None else min(n_rows, len(data.X_test))
    return Task(data.X_train[chosen], y_given, y_true, split, data.X_test[:n_test], data.y_test[:n_test])


# --- the classifier ---------------------------------------------------------------------------------------------------


def make_classifier(
    method: str, noise: str, *, setting: str | None = None, epochs: int | None = None, **params: Any
) -> Any:
    """The published settings, ELR's or MOIT's for a baseline; with ``epochs`` the schedule's steps move along.

    Parameters that are not SANM's are its host's.
    """
    cls = METHODS[method]
    if cls is SANMClassifier:
        own = {name: params.pop(name) for name in set(params) & set(cls().get_params(deep=False))}
        host = shortened(_host(setting), epochs).set_params(**params)
        return cls.from_paper("cifar10", host).set_params(warmup=host.warmup, **own)
    if setting == "fast":
        return cls(**FAST).set_params(**({} if epochs is None else {"max_epochs": epochs}), **params)
    setting = setting or default_setting(cls, noise)
    if hasattr(cls, "from_paper"):
        clf = cls.from_paper(setting)
    else:
        paper = MOITClassifier.from_paper("cifar10") if setting == "moit" else ELRClassifier.from_paper(setting)
        common = set(CrossEntropyClassifier().get_params()) & set(cls().get_params())
        clf = cls(**{name: value for name, value in paper.get_params().items() if name in common or "__" in name})
    return shortened(clf, epochs).set_params(**params)


def shortened(clf: Any, epochs: int | None) -> Any:
    """The same classifier with another number of epochs, and with all that is counted in epochs moved along."""
    if epochs is not None:
        if isinstance(clf.lr_schedule, dict):
            steps = {round(epoch * epochs / clf.max_epochs): factor for epoch, factor in clf.lr_schedule.items()}
            clf.set_params(lr_schedule=steps)
        counted = {name: value for name, value in clf.get_params().items() if name in ("warmup", "ramp")}
        clf.set_params(**{n: max(1, round(v * epochs / clf.max_epochs)) for n, v in counted.items() if v >= 1})
        clf.set_params(max_epochs=epochs)
    return clf


def _host(setting: str | None) -> Any:
    """SANM's own host, which trains longer than DivideMix itself; a setting of DivideMix's changes what it changes."""
    if setting == "fast":
        return DivideMixClassifier(**FAST)
    host = SANMClassifier.from_paper("cifar10").estimator
    if setting is not None:
        script, its = (DivideMixClassifier.from_paper(name).get_params() for name in ("cifar10", setting))
        host.set_params(**{name: value for name, value in its.items() if value != script[name]})
    return host


def trained_part(clf: Any) -> Any:
    """The classifier that trains: SANM's host, or the classifier itself."""
    return clf.estimator if isinstance(clf, BaseMetaClassifier) else clf


def of_moit(noise: str) -> bool:
    """Whether the noise is drawn as MOIT's paper does."""
    return noise.endswith(("-others", "-once"))


def default_setting(cls: type, noise: str) -> str:
    """Which of a paper's settings is for this noise; for a baseline ELR's, or MOIT's under MOIT's noise."""
    if issubclass(cls, DivideMixClassifier):
        known = {f"sym{percent}": f"-sym{percent}" for percent in (20, 50, 80, 90)}
        known |= {"asym40": "-asym40", "asym40-once": "-asym40"}
        return f"cifar10{known.get(noise, '')}"
    if issubclass(cls, MOITClassifier):
        return "cifar10"
    if not hasattr(cls, "from_paper") and of_moit(noise):
        return "moit"
    return "cifar10-asym" if noise.startswith("asym") else "cifar10-sym"


def default_validation(method: str, noise: str) -> bool:
    """Whether the paper that is followed holds rows out."""
    return not (method in ALL_ROWS or (method in BASELINES and of_moit(noise)))


class TestAccuracy(AccuracyCurve):
    """Accuracy on the test images and the clock's readings after every epoch, into the history and onto the screen.

    Set-up is all before the first epoch of a stage or a time slice, and its first batch, which is when networks are
    compiled and kernels chosen; the device is waited for after that batch and at the ends of passes, never in between.

    Attributes
    ----------
    histories : list
        Of every stage.
    """

    __test__ = False  # not a pytest class

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        super().__init__(X, y)
        self.histories: list[Any] = []
        self.clock = time.perf_counter()  # since when it is nobody's time

    def on_train_begin(self, net: Any, X: Any = None, **_: Any) -> None:
        """A stage begins, or goes on."""
        super().on_train_begin(net, X)
        self.histories.append(net.history)
        self.cold_ = {True, False}  # passes that have not been warmed up: training, validation

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Count from here; what lies between two epochs is the method's own, or the writing of a checkpoint."""
        now = time.perf_counter()
        first = True in self.cold_
        self.times_ = {"setup_dur": (now - self.clock) * first, "between_dur": (now - self.clock) * (not first)}
        self.begun_, self.trained_, self.waited_ = now, None, {True: 0.0, False: 0.0}
        self.rows_trained_ = 0

    def on_batch_begin(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """The first validation batch: the loss of the training pass has been read, so that pass is over."""
        if not training and self.trained_ is None:
            self.trained_ = time.perf_counter()

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Count the rows that were trained on: a method may take fewer than there are, or some of them twice."""
        self.rows_trained_ += len(batch[1]) * training
        if training in self.cold_:
            self.cold_.remove(training)
            if torch.device(net.device).type == "cuda":
                torch.cuda.synchronize(net.device)
            self.waited_[training] = time.perf_counter() - (self.begun_ if training else self.trained_)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Measure, and print."""
        now = time.perf_counter()
        over = now if self.trained_ is None else self.trained_
        self.times_["setup_dur"] += sum(self.waited_.values())
        self.times_["train_dur"] = over - self.begun_ - self.waited_[True]
        self.times_["valid_dur"] = now - over - self.waited_[False]
        super().on_epoch_end(net)
        for name, seconds in self.times_.items():
            net.history.record(name, seconds)
        net.history.record("rows_trained", self.rows_trained_)
        row = net.history[-1]
        validation = f"noisy validation {row['valid_acc']:.4f}  " if "valid_acc" in row else ""
        print(
            f"epoch {len(net.history):3d}  loss {row['train_loss']:7.4f}  {validation}"
            f"test {row['test_acc']:.4f}  {row['dur']:.2f} s",
            flush=True,
        )
        self.clock = time.perf_counter()


class OutOfTime(KeyboardInterrupt):
    """The time slice is used up."""


class TimeSlice(Callback):
    """Interrupt the training past ``deadline``, at the first epoch that is in the checkpoint, but not before one is.

    Raised at the beginning of the next epoch, not at the end: there skorch's custom takes it for early stopping, and
    the checkpoint is not yet written.

    Parameters
    ----------
    deadline : float
        On the clock of :func:`time.monotonic`.
    checkpoint : Path
    """

    def __init__(self, deadline: float, checkpoint: Path) -> None:
        self.deadline = deadline
        self.checkpoint = checkpoint

    def _written(self) -> dict[str, tuple[int, int]]:
        files = {file.name: file.stat() for file in stages(self.checkpoint)}
        return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in files.items()}

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """No epoch of this slice is done."""
        self.before_ = None

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Remember what was written before this epoch is."""
        self.before_ = self._written()

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Look at the clock, and whether the last epoch was written."""
        if time.monotonic() > self.deadline and self.before_ not in (None, self._written()):
            raise OutOfTime


def stages(checkpoint: Path) -> list[Path]:
    """The files of a checkpoint, one a stage, in their order."""
    return sorted(checkpoint.parent.glob(f"{checkpoint.name}*"))


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


def work(net: Any, objective: Any, X: np.ndarray, y: np.ndarray, layout: str) -> tuple[float, float]:
    """FLOP per training row and epoch, forward and backward as ``objective`` runs them, and of one row's prediction.

    Counted on copies: a training step moves the method's memory.
    """
    size = min(net.batch_size, len(X))
    rows = Rows(X[:size], torch.as_tensor(y[:size]), n_classes=N_CLASSES, layout=layout, device=str(net.device))
    module, objective = copy.deepcopy((unwrap(net), objective))
    kind = torch.device(net.device).type
    model = module if net.autocast is None else AtPrecision(module, kind, net.autocast)
    module.train()
    objective.train()
    with FlopCounterMode(display=False) as step:
        for pass_number in range(objective.n_passes):
            loss, _ = objective(model, rows.batch(*rows.read(rows.index, pass_number)))
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
    """Test accuracy at the last epoch and at the best noisy-validation epoch, ties going to the later one.

    The latter is None where no row is held out.
    """
    test = history[:, "test_acc"]
    found = {"test_last": test[-1], "train_loss_last": history[-1, "train_loss"]}
    if "valid_acc" not in history[-1]:
        none = ("test_best_valid", "best_valid_epoch", "valid_last", "valid_best")
        return {**found, **dict.fromkeys(none)}
    valid = history[:, "valid_acc"]
    best = max(range(len(valid)), key=lambda epoch: (valid[epoch], epoch))
    return {
        **found,
        "test_best_valid": test[best],
        "best_valid_epoch": best + 1,
        "valid_last": valid[-1],
        "valid_best": valid[best],
    }


def seconds(histories: Sequence[Any]) -> dict[str, float]:
    """Where the time went, over all stages and time slices."""
    parts = {"setup": "setup_dur", "training": "train_dur", "between": "between_dur", "validation": "valid_dur"}
    spent = {
        f"seconds_{name}": float(sum(sum(history[:, column]) for history in histories))
        for name, column in {**parts, "test": "test_dur"}.items()
    }
    return {"seconds": sum(spent.values()), **spent}


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


def speed(net: Any, objective: Any, history: Any, task: Task, layout: str, peak: float, dtype: Any) -> dict[str, Any]:
    """Rows a second, seconds an epoch (training and validation pass) and the share of the matrix-product ``peak``."""
    durations = history[:, "dur"]
    epoch = statistics.median(durations[1:] or durations)  # the first one warms up
    trained = history[:, "rows_trained"]  # in all passes
    n_train = statistics.median(trained[1:] or trained)
    per_row, per_prediction = work(net, objective, task.X, task.y_given, layout)
    rate = (n_train * per_row / objective.n_passes + len(task.split.valid) * per_prediction) / epoch
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
    elif of_moit(noise):
        network, epoch = "preact_resnet18", "not stated"
    else:
        network, epoch = "preact_resnet18" if method == "elr+" else "resnet34", "best noisy validation"
    return {"accuracy": mean, "spread": spread, "module": network, "epoch": epoch}


def departures(row: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a stored run that are not those of its setting today, brought to the run's number of epochs.

    Precision and compilation are none: they say how the same is computed.
    """
    setting = None if row["setting"] == "default" else row["setting"]
    clf = make_classifier(row["method"], row["noise"], setting=setting, epochs=row["max_epochs"])
    its = settings(clf, row["rows_asked"] or 50_000)
    return {
        name: value
        for name, value in row["params"].items()
        if name.rpartition("estimator__")[2].split("__")[0] not in ("precision", "compile")
        and (name not in its or its[name] != value)
    }


def paper_epochs(method: str, noise: str, setting: str | None) -> int:
    """Epochs of the setting, as it is today."""
    return trained_part(make_classifier(method, noise, setting=setting)).max_epochs


def is_papers(row: dict[str, Any]) -> bool:
    """Whether a stored run is what a paper did, so that its published number may stand beside."""
    setting = None if row["setting"] == "default" else row["setting"]
    return (
        setting != "fast"
        and row["rows_asked"] is None
        and (row["rows_validation"] > 0) == default_validation(row["method"], row["noise"])
        and row["max_epochs"] == paper_epochs(row["method"], row["noise"], setting)
        and not departures(row)
    )


def summary(row: Row) -> str:
    """Return a row on one line."""
    result = {**row, **row["measures"], **row["machine"]}
    short = f" instead of {result['paper_epochs']}" if result["max_epochs"] < result["paper_epochs"] else ""
    what = f"{result['module']}, {result['max_epochs']} epochs{short}, {result['rows_trained']} rows"
    line = (
        f"{result['method']} on {result['noise']}, seed {result['seed']}, {what}: "
        f"test {100 * result['test_last']:.2f} % at the last epoch"
    )
    if result["test_best_valid"] is not None:
        line += (
            f", {100 * result['test_best_valid']:.2f} % at the best noisy-validation epoch "
            f"({result['best_valid_epoch']})"
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
    parts = ("training", "setup", "between", "validation", "test")
    spent = ", ".join(f"{name} {result[f'seconds_{name}']:.1f}" for name in parts)
    return line + (
        f"; {result['samples_per_second']:,.0f} samples/s, {result['seconds_per_epoch']:.2f} s/epoch, "
        f"{result['seconds']:.1f} s in all ({spent}), {100 * result['share_of_peak']:.1f} % of "
        f"{result['peak_tflops']:.1f} TFLOP/s {result['peak_dtype']}, {result['peak_memory_mib']:.0f} MiB on "
        f"{result['device']}"
    )


# --- one run ----------------------------------------------------------------------------------------------------------


def build(args: argparse.Namespace, device: str) -> Any:
    """The classifier that these arguments ask for."""
    params: dict[str, Any] = {"precision": args.precision, **dict(args.param)}
    if args.setting == "fast" and torch.device(device).type != "cuda":
        params.setdefault("compile", False)
    if args.smallest and args.module is None:
        params = {"module": "fast" if args.setting == "fast" else "cnn", "module__width": 4, **params}
    for name in ("module", "batch_size"):
        if getattr(args, name) is not None:
            params[name] = getattr(args, name)
    return make_classifier(args.method, args.noise, setting=args.setting, epochs=args.epochs, **params)


def validates(args: argparse.Namespace) -> bool:
    """Whether rows are held out."""
    return default_validation(args.method, args.noise) if args.validation == "auto" else args.validation == "yes"


def identity(args: argparse.Namespace, device: str) -> dict[str, Any]:
    """What makes a run this one and no other: every parameter, rows, labels, seed and the kind of device."""
    return {
        "data": "cifar10",
        "method": args.method,
        "noise": args.noise,
        "seed": args.seed,
        "setting": args.setting or "default",
        "rows_asked": args.rows,
        "validation": validates(args),
        "device_type": torch.device(device).type,
        "params": settings(build(args, device), args.rows or 50_000),
    }


def run(args: argparse.Namespace) -> int:
    """Train or go on, and report if the training came to its end."""
    started = time.monotonic()
    device = resolve_device(args.device)
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.init()  # else there are no statistics to reset
        torch.backends.cudnn.benchmark = True
        torch.cuda.reset_peak_memory_stats(device)
    task = make_task(load(args.data_home), args.noise, args.seed, args.rows, validation=validates(args))
    clf = build(args, device)
    inner = "estimator__" if trained_part(clf) is not clf else ""
    checkpoint = None
    if args.minutes is not None or args.checkpoint is not None:
        checkpoint = args.checkpoint or default_checkpoint(args, device)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    watch = TestAccuracy(task.X_test, task.y_test)
    callbacks: list[Callback] = [watch]
    if args.minutes is not None:
        callbacks.append(TimeSlice(started + 60 * args.minutes, checkpoint))
    its = {
        "device": device,
        "train_split": task.split if len(task.split.valid) else None,
        "random_state": args.seed,
        "callbacks": callbacks,
        "checkpoint": checkpoint,
    }
    clf.set_params(**{"random_state": args.seed, **{inner + name: value for name, value in its.items()}})
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="fit was interrupted")
            clf.fit(task.X, task.y_given)
    except OutOfTime:
        net, epochs = watch.histories[-1], trained_part(clf).max_epochs
        stage = f" of stage {len(watch.histories)}" if len(watch.histories) > 1 else f" of {epochs}"
        print(f"unfinished: run again ({len(net)}{stage} epochs done, checkpoint {checkpoint})")
        return UNFINISHED
    net = (clf.estimator_ if inner else clf).net_
    dtype = torch.bfloat16 if cuda else net.autocast or torch.float32
    memory = peak_memory(device)
    peak = matmul_peak(device, dtype, 1.0 if cuda else 0.1)
    rows = [report(args, clf, task, watch.histories, device, net.criterion_, peak, dtype, memory)]
    if args.method == "moit+":  # its first stage is a MOIT
        one = argparse.Namespace(**{**vars(args), "method": "moit"})
        if find(read_rows(args.results), identity(one, device)) is None:
            parts = copy.deepcopy(net.criterion_).modules()
            objective = next(part for part in parts if isinstance(part, MOITObjective))
            objective.projector.requires_grad_(True)  # the second stage does not train it; its work is counted
            rows.append(report(one, clf, task, watch.histories[:1], device, objective, peak, dtype, memory))
    for row in rows:
        append_row(args.results, row)
    if checkpoint is not None:
        for file in stages(checkpoint):
            file.unlink()
    for row in rows:
        print(summary(row))
    return 0


def report(
    args: argparse.Namespace,
    clf: Any,
    task: Task,
    histories: Sequence[Any],
    device: str,
    objective: Any,
    peak: float,
    dtype: torch.dtype,
    memory: Row,
) -> Row:
    """Return the row of a run, from a fitted classifier and the histories and the objective of its stages."""
    trained = clf.estimator_ if trained_part(clf) is not clf else clf
    net = trained.net_
    what_ran = {
        **identity(args, device),
        "module": trained.module,
        "max_epochs": trained.max_epochs,
        "paper_epochs": paper_epochs(args.method, args.noise, args.setting),
        "batch_size": net.batch_size,
        "rows_trained": len(task.split.train),
        "rows_validation": len(task.split.valid),
        "rows_test": len(task.y_test),
        "precision": str(net.autocast or torch.float32).removeprefix("torch."),
    }
    result = {
        "epochs": sum(map(len, histories)),
        **accuracies(histories[-1]),
        **detection(clf, task),
        **speed(net, objective, histories[-1], task, trained.layout_, peak, dtype),
        **seconds(histories),
        **memory,
    }
    versions = {
        "robustlabels": robustlabels.__version__,
        **{name: version(name) for name in ("torch", "skorch", "scikit-learn", "numpy")},
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }
    machine = {"device": device_name(device), "threads": torch.get_num_threads()}
    row = make_row(what_ran, result, {"machine": machine, "versions": versions})
    return {**row, "published": published(args.method, args.noise, args.setting) if is_papers(row) else None}


# --- the suite --------------------------------------------------------------------------------------------------------


def entries(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The runs of :data:`SUITE` that were asked for."""
    return [
        argparse.Namespace(**{**vars(args), **entry._asdict(), "epochs": args.epochs or entry.epochs})
        for entry in SUITE
        if (not args.suite or entry.method in args.suite)
        and args.noise in (None, entry.noise)
        and args.setting in (None, entry.setting)
    ]


def run_suite(args: argparse.Namespace) -> int:
    """All of :data:`SUITE` that has no line yet; a time slice is one for all of it."""
    started, device = time.monotonic(), resolve_device(args.device)
    failed, left_out, ran = [], [], 0
    for one in entries(args):
        name = " ".join([one.method, "on", one.noise, *([one.setting] if one.setting else [])])
        rows = read_rows(args.results)
        if find(rows, identity(one, device)) is not None:
            print(f"{name}: stored")
            continue
        elapsed = (time.monotonic() - started) / 60
        if args.left is not None and (needed := expected_minutes(one, device, rows)) > args.left - elapsed:
            print(f"{name}: left out, about {needed:.1f} minutes of {args.left - elapsed:.1f} that are left")
            left_out.append(name)
            continue
        if args.minutes is not None:
            one.minutes = args.minutes - elapsed
            if one.minutes <= 0 and ran:
                print(f"unfinished: run again (next: {name})")
                return UNFINISHED
        print(name, flush=True)
        ran += 1
        try:
            if run(one) == UNFINISHED:
                return UNFINISHED
        except Exception:
            traceback.print_exc()
            print(f"{name}: failed; going on with the next", flush=True)
            failed.append(name)
    for what, names in (("failed", failed), ("left out", left_out)):
        if names:
            print(f"{what}: {', '.join(names)}")
    return 1 if failed else NO_ROOM if left_out else 0


def list_suite(args: argparse.Namespace) -> int:
    """Print the runs with what they are expected to take."""
    device, rows = resolve_device(args.device), read_rows(args.results)
    total, brought = 0.0, set()
    for one in entries(args):
        stored = find(rows, identity(one, device)) is not None
        minutes = expected_minutes(one, device, rows)
        what = f"{minutes:6.1f} min"
        if stored:
            what = "stored"
        elif one.method == "moit" and one.noise in brought:
            what = "by MOIT+"
        else:
            total += minutes
            brought |= {one.noise} if one.method == "moit+" else set()
        print(f"{what:>10}  {one.method} on {one.noise} {one.setting or ''}".rstrip())
    print(f"{total / 60:6.1f} hours in all")
    return 0


def expected_minutes(args: argparse.Namespace, device: str, rows: Sequence[dict[str, Any]]) -> float:
    """What is left of a run: by its own checkpoint, else by a stored run of the kind, else by :data:`EPOCH_SECONDS`."""
    clf = trained_part(build(args, device))
    epochs = clf.max_epochs
    if args.method == "moit+":  # a fraction, or epochs
        epochs += round(clf.finetune_epochs * epochs) if clf.finetune_epochs <= 1 else clf.finetune_epochs
    done = []
    for file in stages(args.checkpoint or default_checkpoint(args, device)):
        done += torch.load(file, map_location="cpu", weights_only=True, mmap=True)["history"]
    epochs -= len(done)
    if len(done) > getattr(clf, "warmup", 0):  # a warm-up's epochs are shorter than the others
        last = [row["dur"] + row["between_dur"] + row["test_dur"] for row in done[-5:]]
        return (START_SECONDS + statistics.median(last) * epochs) / 60
    mine = {"method": args.method, "module": clf.module, "batch_size": clf.batch_size, "rows_asked": args.rows}
    for row in reversed(rows):
        if row["machine"]["device"] == device_name(device) and all(row[name] == v for name, v in mine.items()):
            its = row["measures"]
            return (its["seconds_setup"] + (its["seconds"] - its["seconds_setup"]) / its["epochs"] * epochs) / 60
    each = FAST_EPOCH_SECONDS if args.setting == "fast" else EPOCH_SECONDS[args.method]
    if args.setting != "fast" and args.method in BASELINES and of_moit(args.noise):
        each *= 0.6  # PreActResNet-18 has half the work of ResNet-34
    return (START_SECONDS + each * epochs * (args.rows or 50_000) / 50_000) / 60


def suite_hours() -> float:
    """What all of :data:`SUITE` takes on one H200, by :data:`EPOCH_SECONDS`."""
    args = parse(["--suite"])
    brought = {entry.noise for entry in SUITE if entry.method == "moit+"}
    runs = [one for one in entries(args) if not (one.method == "moit" and one.noise in brought)]
    return sum(expected_minutes(one, "cuda", []) for one in runs) / 60


def default_checkpoint(args: argparse.Namespace, device: str) -> Path:
    """A file in the temporary folder, another one for every other run."""
    code = zlib.crc32(json.dumps(identity(args, device), sort_keys=True).encode())
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
    parser.add_argument(
        "--noise", choices=NOISE, metavar="NOISE", help=f"{', '.join(NOISE)}; default: sym40, of a suite all"
    )
    parser.add_argument("--seed", type=int, default=0, help="of split, noise and training; default: 0")
    parser.add_argument("--module", help="network preset: resnet34, preact_resnet18, cnn …; default: the paper's")
    parser.add_argument("--setting", help="of from_paper, such as cifar10-sym-cosine, or fast; default: by the noise")
    parser.add_argument(
        "--validation", choices=("auto", "yes", "no"), default="auto", help="hold rows out? default: as the paper"
    )
    parser.add_argument("--epochs", type=int, help="the schedule is scaled along; default: the paper's")
    parser.add_argument("--batch-size", type=int, help="default: the paper's")
    parser.add_argument("--rows", type=int, help="only so many training and at most so many test images")
    parser.add_argument(
        "--param", type=parameter, action="append", default=[], metavar="NAME=JSON", help="any parameter: lam=7"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument(
        "--suite", nargs="*", choices=METHODS, metavar="METHOD", help="all that is listed, or only these"
    )
    parser.add_argument("--list", action="store_true", help="print the suite and what it is expected to take")
    parser.add_argument("--smallest", action="store_true", help="500 images, 2 epochs, a small network: does it run?")
    parser.add_argument("--minutes", type=float, help="stop at an epoch's end after these, with exit status 75")
    parser.add_argument(
        "--left", type=float, metavar="MINUTES", help="leave runs of the suite out that are expected to take longer"
    )
    parser.add_argument("--checkpoint", type=Path, help="go on from this file; default with --minutes: a temporary one")
    parser.add_argument("--data-home", type=Path, help="default: $ROBUSTLABELS_DATA")
    parser.add_argument("--stage", type=Path, metavar="FROM", help="only copy the data from there to --data-home")
    parser.add_argument("--results", type=Path, help=f"append there; default: docs/benchmarks/results/{RESULTS.name}")
    args = parser.parse_args(argv)
    if args.smallest:
        make_smallest(parser, args)
    args.results = args.results or RESULTS
    if args.list and args.suite is None:
        args.suite = []
    if args.suite is None:
        args.noise = args.noise or "sym40"
    check_choices(parser, args)
    return args


def make_smallest(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Set what ``--smallest`` stands for; its numbers mean nothing, so they must not reach the stored ones."""
    if args.results is None or args.results.resolve() == RESULTS:
        parser.error("--smallest makes numbers that mean nothing: give it another file, --results FILE")
    args.rows, args.epochs, args.batch_size = args.rows or 500, args.epochs or 2, args.batch_size or 32


def check_choices(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Report options that do not go together."""
    if args.suite is None:
        if args.left is not None:
            parser.error("--left chooses among the runs of --suite; a single run takes --minutes")
    elif not entries(args):
        asked = ", ".join(str(value) for value in (*args.suite, args.noise, args.setting) if value)
        parser.error(f"the suite has no run of {asked}; --list prints it, and without --suite anything can be run")
    elif args.checkpoint is not None and len(entries(args)) > 1:
        parser.error("--checkpoint is one run's file; a suite keeps its own with --minutes")
    if args.stage is not None and args.data_home is None:
        parser.error("--stage needs --data-home: the folder in which the files are collected")
    if args.rows is not None and args.rows < 10 * N_CLASSES:
        parser.error(f"--rows must be at least {10 * N_CLASSES}, ten of each class, got {args.rows}")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.stage is not None:
        missing = stage(args.stage, args.data_home)
        print(f"{args.data_home}: " + (f"still missing {', '.join(missing)}" if missing else "complete"))
        return UNFINISHED if missing else 0
    if args.list:
        return list_suite(args)
    return run(args) if args.suite is None else run_suite(args)


if __name__ == "__main__":
    sys.exit(main())
