"""CIFAR-10 at full size: one method, one kind of label noise, one seed, one line of JSON.

    python benchmarks/cifar10.py --method elr --noise sym40 --seed 0

trains on 45,000 class-stratified images, watches accuracy on 5,000 held-out *noisy* labels and on the 10,000 test
images after every epoch, and appends to ``docs/benchmarks/results/cifar10.jsonl`` the test accuracy at the last epoch
and at the best noisy-validation epoch, how well the flips were found, speed, memory and versions. Networks,
optimizers and schedules are the papers' (``from_paper``) where a method has them, and ELR's for the baselines, so that
rows compare. Two departures, as everywhere in the package: statistics for normalisation are taken from the training
images, and ELR+'s ramps are fractions of the training.

Noise is drawn in both parts, anew for each seed: ``sym*`` with the true class among the drawn labels (the ELR papers'
convention: "40 %" is 36 % wrong), ``asym40`` by the ELR authors' own sequential generator (18.4 % wrong),
``cifar10n-*`` are the human labels of CIFAR-10N. Published numbers are taken at the best noisy-validation epoch, as
``test_best_valid`` is, with the network that stands beside them.

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
    ELRClassifier,
    ELRPlusClassifier,
    GCEClassifier,
    MOITClassifier,
    SCEClassifier,
    detection_report,
)
from robustlabels.datasets import NoisyDataset, load_cifar10
from robustlabels.net import Rows, resolve_device, unwrap
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
}

SIMULATED = {
    **{
        f"sym{percent}": functools.partial(SymmetricNoise, percent / 100, include_true_class=True)
        for percent in (20, 40, 60, 80)
    },
    "asym40": functools.partial(AsymmetricNoise, 0.4, CIFAR10_PAIRS, sequential=True),
}
HUMAN = {"cifar10n-aggre": "aggre", "cifar10n-random1": "random1", "cifar10n-worse": "worse"}
NOISE = ["clean", *SIMULATED, *HUMAN]

# Liu et al. (2020), tables 1 (ResNet-34, five noise realisations) and 2 (ELR+, PreAct-ResNet-18): test accuracy in
# percent at the best noisy-validation epoch. CIFAR-10N (last two rows): its authors' leaderboard page, protocol unread.
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
    ("elr", "cifar10n-aggre"): (92.38, None),
    ("elr+", "cifar10n-aggre"): (94.83, None),
}

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
    """skorch's ``train_split`` into given rows."""

    train: np.ndarray
    valid: np.ndarray

    def __call__(self, dataset: Any, y: Any = None, groups: Any = None) -> tuple[Subset, Subset]:
        """Both parts of the data set."""
        return Subset(dataset, self.train), Subset(dataset, self.valid)

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
    """The published settings, ELR's for a baseline that has none; with ``epochs`` the schedule's steps move along."""
    cls = METHODS[method]
    elr_setting = "cifar10-asym" if noise.startswith("asym") else "cifar10-sym"
    setting = setting or ("cifar10" if issubclass(cls, MOITClassifier) else elr_setting)
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
        clf.set_params(max_epochs=epochs)
    return clf.set_params(**params)


class TestAccuracy(Callback):
    """Accuracy on the test images after every epoch, into the history and onto the screen.

    Parameters
    ----------
    X, y : ndarray
        Test images and labels; the images are put on the device once, so copies of this callback share them.
    """

    __test__ = False  # not a pytest class

    def __init__(self, X: np.ndarray, y: np.ndarray) -> None:
        self.X, self.y = X, y

    def __deepcopy__(self, memo: dict) -> TestAccuracy:
        return self

    def on_train_begin(self, net: Any, **_: Any) -> None:
        """Put the images on the device."""
        self.rows_ = net.get_dataset(self.X)

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Measure; the epoch's own duration is taken already."""
        start = time.perf_counter()
        right = net.outputs(self.rows_).argmax(1).numpy() == self.y
        net.history.record("test_acc", float(right.mean()))
        net.history.record("test_dur", time.perf_counter() - start)
        row = net.history[-1]
        print(
            f"epoch {len(net.history):3d}  loss {row['train_loss']:7.4f}  noisy validation {row['valid_acc']:.4f}  "
            f"test {row['test_acc']:.4f}  {row['dur']:.2f} s",
            flush=True,
        )

    def on_train_end(self, net: Any, **_: Any) -> None:
        """Free the device's copy."""
        del self.rows_


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


def work(clf: Any, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """FLOP per training row and epoch, forward and backward as the method runs them, and of one row's prediction.

    Counted on copies: a training step moves the method's memory.
    """
    net = clf.net_
    size = min(net.batch_size, len(X))
    rows = Rows(X[:size], torch.as_tensor(y[:size]), n_classes=N_CLASSES, layout=clf.layout_, device=str(net.device))
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
    """Rows a second, seconds an epoch (validation included, test not) and the share of the matrix-product peak."""
    net, history = clf.net_, clf.net_.history
    durations = history[:, "dur"]
    epoch = statistics.median(durations[1:] or durations)  # the first one warms up
    n_train, n_valid = len(task.split.train), len(task.split.valid)
    per_row, per_prediction = work(clf, task.X, task.y_given)
    rate = (n_train * per_row + n_valid * per_prediction) / epoch
    cuda = torch.device(net.device).type == "cuda"
    dtype = torch.bfloat16 if cuda else net.autocast or torch.float32
    peak = matmul_peak(str(net.device), dtype, peak_seconds)
    return {
        "samples_per_second": net.criterion_.n_turns * n_train / epoch,
        "seconds_per_epoch": epoch,
        "seconds": sum(durations) + sum(history[:, "test_dur"]),
        "gflop_per_row_and_epoch": per_row / 1e9,
        "tflops": rate / 1e12,
        "peak_tflops": peak / 1e12,
        "peak_dtype": str(dtype).removeprefix("torch."),
        "share_of_peak": rate / peak,
    }


def published(method: str, noise: str, setting: str | None) -> dict[str, Any] | None:
    """What the papers report, beside what is ours."""
    name = f"{method} cosine" if setting is not None and setting.endswith("-cosine") else method
    if (name, noise) not in PUBLISHED:
        return None
    mean, spread = PUBLISHED[name, noise]
    network = None if noise in HUMAN else "preact_resnet18" if method == "elr+" else "resnet34"
    return {"accuracy": mean, "spread": spread, "module": network}


def summary(result: dict[str, Any]) -> str:
    """The result on one line."""
    what = f"{result['module']}, {result['epochs']} epochs, {result['rows_trained']} rows"
    line = (
        f"{result['method']} on {result['noise']}, seed {result['seed']}, {what}: "
        f"test {100 * result['test_last']:.2f} % at the last epoch, "
        f"{100 * result['test_best_valid']:.2f} % at the best noisy-validation epoch ({result['best_valid_epoch']})"
    )
    if result["published"]:
        theirs = result["published"]
        spread = "" if theirs["spread"] is None else f" ± {theirs['spread']:.2f}"
        where = "leaderboard" if theirs["module"] is None else f"published there with {theirs['module']}"
        line += f", {where} {theirs['accuracy']:.2f}{spread} %"
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
    clf = make_classifier(args.method, args.noise, setting=args.setting, epochs=args.epochs, **params)
    checkpoint = None
    if args.minutes is not None or args.checkpoint is not None:
        checkpoint = args.checkpoint or default_checkpoint(args, clf)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
    callbacks: list[Callback] = [TestAccuracy(task.X_test, task.y_test)]
    if args.minutes is not None:
        callbacks.append(TimeSlice(started + 60 * args.minutes))
    clf.set_params(
        device=device,
        precision=args.precision,
        train_split=task.split,
        random_state=args.seed,
        callbacks=callbacks,
        checkpoint=checkpoint,
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="fit was interrupted")
            clf.fit(task.X, task.y_given)
    except OutOfTime:
        print(f"unfinished: run again ({clf.n_iter_} of {clf.max_epochs} epochs done, checkpoint {checkpoint})")
        return UNFINISHED
    memory = peak_memory(device)
    result = {
        "benchmark": "cifar10",
        "method": args.method,
        "noise": args.noise,
        "seed": args.seed,
        "setting": args.setting or "default",
        "module": clf.module,
        "params": {name: value for name, value in clf.get_params().items() if is_plain(value)},
        "epochs": clf.n_iter_,
        "batch_size": clf.net_.batch_size,
        "rows_trained": len(task.split.train),
        "rows_validation": len(task.split.valid),
        "rows_test": len(task.y_test),
        **accuracies(clf.net_.history),
        "published": published(args.method, args.noise, args.setting),
        **detection(clf, task),
        **speed(clf, task, 1.0 if torch.device(device).type == "cuda" else 0.1),
        **memory,
        "precision": "float32" if clf.net_.autocast is None else str(clf.net_.autocast).removeprefix("torch."),
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
    args.results.parent.mkdir(parents=True, exist_ok=True)
    with args.results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    if checkpoint is not None:
        checkpoint.unlink()
    print(summary(result))
    return 0


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
    parser.add_argument("--setting", help="of from_paper, such as cifar10-sym-cosine; default: by the noise")
    parser.add_argument("--epochs", type=int, help="the schedule is scaled along; default: the paper's")
    parser.add_argument("--batch-size", type=int, help="default: the paper's")
    parser.add_argument("--rows", type=int, help="only so many training (9 : 1) and at most so many test images")
    parser.add_argument(
        "--param", type=parameter, action="append", default=[], metavar="NAME=JSON", help="any parameter: lam=7"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--minutes", type=float, help="stop at an epoch's end after these, with exit status 75")
    parser.add_argument("--checkpoint", type=Path, help="go on from this file; default with --minutes: a temporary one")
    parser.add_argument("--data-home", type=Path, help="default: $ROBUSTLABELS_DATA")
    parser.add_argument("--stage", type=Path, metavar="FROM", help="only copy the data from there to --data-home")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"append there; default: {RESULTS.name}")
    args = parser.parse_args(argv)
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
    return run(args)


if __name__ == "__main__":
    sys.exit(main())
