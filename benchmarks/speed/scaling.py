"""How seconds and memory grow with rows n, classes K and columns d: every point in a process of its own.

    python -m benchmarks.speed.scaling                       # what is not stored yet, then the slopes; ten minutes
    python -m benchmarks.speed.scaling --task vote mixture --results mine.jsonl --again
    python -m benchmarks.speed.scaling --table --plot docs/images/scaling.png

A point is one row of ``docs/benchmarks/results/scaling.jsonl`` and is not repeated: ``method`` is the task, ``params``
its sizes. ``seconds`` is the median CPU time of one thread over ``calls`` calls, ``extra_mib`` what they took at most
beyond what the process held before them: Python, the libraries, and the inputs. Of each curve the slope of log seconds
against log size is fitted: 1 is a cost in proportion, 2 its square. Below 1, a part does not grow. Points are not
measured side by side, so only ``python -m benchmarks.speed epochs`` says how much one method costs beside another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.results import DOCS, identity, path_of
from benchmarks.speed import harness
from benchmarks.speed.label_issues import probabilities
from benchmarks.speed.memory import forget_peak, peak
from benchmarks.speed.nets import PlainMLP
from benchmarks.speed.training import classifier, epochs_of, seeded
from robustlabels import CrossEntropyClassifier, ELRClassifier
from robustlabels.comparison import Row, append_row, find, make_row, read_rows
from robustlabels.maths.confident_joint import find_label_issues
from robustlabels.maths.functional import fit_two_component_mixture, nearest_neighbors, two_pass_votes
from robustlabels.maths.influence_functions import influence_scores
from robustlabels.methods.elr import TargetMemory

FILE = path_of(__file__)

AXES = {"n": "rows", "K": "classes", "d": "columns"}

BATCH = 128

NEIGHBORS = 250

ENOUGH = 2.0
"""CPU seconds after which a point is not called again; many calls, for a peak is not seen by each."""

MOST_CALLS = 9

STEEPER = 0.15
"""By how much a fitted slope may exceed the expected one before the table's note names it."""

Work = Callable[[], Any]


# -- Tasks: inputs are made by the function, and the work it returns is measured --------------------------------------


def rows_of(n: int, n_classes: int, d: int, *, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Rows around class centers, (n, d) in float32, made in parts, and their labels, three in ten drawn anew."""
    rng = np.random.default_rng(0)
    true = rng.integers(n_classes, size=n)
    centers = spread * rng.standard_normal((n_classes, d), dtype=np.float32)
    x = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 1_000):
        part = x[start : start + 1_000]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        part += centers[true[start : start + 1_000]]
    return x, np.where(rng.random(n) < 0.3, rng.integers(n_classes, size=n), true)


def trained(method: type) -> Callable[[int, int, int], Work]:
    """Two epochs of an MLP d-256-K; the second is what is timed."""

    def make(n: int, n_classes: int, d: int) -> Work:
        x, y = rows_of(n, n_classes, d)
        y[:n_classes] = np.arange(n_classes)  # no class is without a row
        return epochs_of(classifier(method, seeded(PlainMLP, d, 256, n_classes), max_epochs=2), x, y, last=True)

    return make


def elr_state(n: int, n_classes: int, d: int) -> Work:
    """ELR's targets of all rows, made and moved once, a batch at a time."""
    p = torch.rand(BATCH, n_classes, generator=torch.Generator().manual_seed(0)).softmax(1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))

    def work() -> None:
        memory = TargetMemory(n, n_classes, 0.7)
        for index in order.split(BATCH):
            memory.update(index, p[: len(index)])

    return work


def vote(n: int, n_classes: int, d: int) -> Work:
    """MOIT's search for neighbors and both passes of their vote."""
    x, y = rows_of(n, n_classes, d, spread=0.3)
    z, labels = F.normalize(torch.from_numpy(x), dim=1), torch.from_numpy(y)
    return lambda: two_pass_votes(nearest_neighbors(z, min(NEIGHBORS, n - 1)), labels, n_classes)


def mixture(n: int, n_classes: int, d: int) -> Work:
    """Two components fitted to losses, and the posterior of each."""
    rng = np.random.default_rng(0)
    losses = np.empty(n, dtype=np.float32)
    losses[: n * 6 // 10] = rng.exponential(0.3, n * 6 // 10)
    losses[n * 6 // 10 :] = rng.gamma(6.0, 0.5, n - n * 6 // 10)
    values = torch.from_numpy(losses).div_(float(losses.max()))
    return lambda: fit_two_component_mixture(values).posterior(values)


def issues(n: int, n_classes: int, d: int) -> Work:
    """Label issues of given probabilities."""
    y, p = probabilities(n, n_classes)
    return lambda: find_label_issues(y, p)


def influence(n: int, n_classes: int, d: int) -> Work:
    """Influence scores of given features by K-FAC, which "auto" takes at all of these sizes."""
    x, y = rows_of(n, n_classes, d, spread=0.3)
    return lambda: influence_scores(x, y, n_classes, backend="kfac")


@dataclass(frozen=True)
class Task:
    """Something that is measured along axes.

    Parameters
    ----------
    title : str
    make : callable
        Of n, K and d; gives the work.
    base : dict
        The sizes of the axes that stay.
    axes : dict
        Sizes along each axis; one that does not enter is left out.
    slopes : dict
        What the cost along each axis should grow with at most.
    """

    title: str
    make: Callable[[int, int, int], Work]
    base: dict[str, int]
    axes: dict[str, Sequence[int]]
    slopes: dict[str, float]

    def sizes(self) -> Iterator[dict[str, int]]:
        """Every point once; curves share the base."""
        seen = []
        for axis, along in self.axes.items():
            for size in along:
                point = {**self.base, axis: size}
                if point not in seen:
                    seen.append(point)
                    yield point


EPOCH = {
    "base": {"n": 16_000, "K": 10, "d": 128},
    "axes": {"n": (1_000, 4_000, 16_000, 64_000), "K": (10, 40, 160, 640), "d": (32, 128, 512, 2_048)},
    "slopes": {"n": 1, "K": 1, "d": 1},
}

TASKS = {
    "cross-entropy": Task("epoch of cross-entropy", trained(CrossEntropyClassifier), **EPOCH),
    "elr": Task("epoch of ELR", trained(ELRClassifier), **EPOCH),
    "elr-state": Task(
        "ELR's targets, all rows once",
        elr_state,
        {"n": 40_000, "K": 10},
        {"n": (10_000, 40_000, 160_000, 640_000), "K": (10, 40, 160, 640)},
        {"n": 1, "K": 1},
    ),
    "vote": Task(
        "vote of 250 neighbors",
        vote,
        {"n": 4_000, "K": 10, "d": 128},
        {"n": (1_000, 2_000, 4_000, 8_000, 16_000), "K": (10, 40, 160, 640), "d": (32, 128, 512, 2_048)},
        {"n": 2, "K": 1, "d": 1},
    ),
    "mixture": Task(
        "mixture of losses", mixture, {"n": 100_000}, {"n": (10_000, 100_000, 1_000_000, 10_000_000)}, {"n": 1}
    ),
    "issues": Task(
        "label issues of probabilities",
        issues,
        {"n": 40_000, "K": 10},
        {"n": (10_000, 40_000, 160_000, 640_000, 2_560_000), "K": (10, 40, 160, 640)},
        {"n": 1, "K": 1},
    ),
    "influence": Task(
        "influence scores",
        influence,
        {"n": 8_000, "K": 10, "d": 128},
        {"n": (2_000, 8_000, 32_000), "K": (10, 40, 160), "d": (128, 256, 512, 1_024)},
        {"n": 1, "K": 1, "d": 3},
    ),
}


# -- One point ---------------------------------------------------------------------------------------------------------


def measure(task: Task, sizes: dict[str, int]) -> dict[str, Any]:
    """Seconds and extra memory in this process: see the module."""
    torch.set_num_threads(1)

    def make(**sizes: int) -> Work:
        return task.make(sizes["n"], sizes.get("K", 0), sizes.get("d", 0))

    make(**{**task.base, "n": 500})()  # libraries warm
    work = make(**sizes)
    before, end = forget_peak(), time.process_time() + ENOUGH
    seconds = [_timed(work), _timed(work)]
    while time.process_time() < end and len(seconds) < MOST_CALLS:
        seconds.append(_timed(work))
    extra = peak() - before
    return {
        "seconds": float(f"{statistics.median(seconds):.4g}"),
        "calls": len(seconds),
        "extra_mib": round(extra / 2**20, 1),
    }


def _timed(work: Work) -> float:
    """CPU seconds; work that returns a float has timed the part that counts."""
    start = time.process_time()
    own = work()
    return own if isinstance(own, float) else time.process_time() - start


def isolated(name: str, sizes: dict[str, int]) -> dict[str, Any]:
    """The same in a process of its own: in a used one, freed blocks hide what a task takes."""
    command = [sys.executable, "-m", "benchmarks.speed.scaling", "--point", name, json.dumps(sizes)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=DOCS.parent)
    if done.returncode:
        raise RuntimeError(f"{name} at {sizes} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def points(names: Sequence[str]) -> Iterator[Row]:
    """Yield what identifies every point of these tasks."""
    for name in names:
        for sizes in TASKS[name].sizes():
            yield point_of(name, sizes)


def point_of(name: str, sizes: dict[str, int]) -> Row:
    """Return what identifies a point; its data are generated, and the same for every seed."""
    return identity("generated", "none", name, 0, params=sizes)


# -- Curves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """What was measured of a task along one axis, sizes in order."""

    task: str
    axis: str
    sizes: list[int]
    seconds: list[float]
    extra_mib: list[float]

    @property
    def slope(self) -> float:
        """Of log seconds against log size."""
        return slope(self.sizes, self.seconds)

    @property
    def last_slope(self) -> float:
        """The same between the two largest sizes, where what does not grow weighs least."""
        return slope(self.sizes[-2:], self.seconds[-2:])

    @property
    def expected(self) -> float:
        """What the slope should be at most."""
        return TASKS[self.task].slopes[self.axis]

    @property
    def steeper(self) -> bool:
        """Whether it grows faster than expected, overall or at its end."""
        return max(self.slope, self.last_slope) > self.expected + STEEPER


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Least squares of log value against log size: the power that values grow with.

    Examples
    --------
    >>> round(slope([1, 10, 100], [3, 300, 30_000]), 6)
    2.0
    """
    x = np.log(np.asarray(sizes, dtype=float))
    x -= x.mean()
    return float(x @ np.log(np.asarray(values, dtype=float)) / (x @ x))


def curves(rows: Sequence[Row]) -> list[Curve]:
    """Return curves of at least two points, in the order of the tasks; of a repeated point the last row counts."""
    found = []
    for name, task in TASKS.items():
        for axis, along in task.axes.items():
            points = [(size, find(rows, point_of(name, {**task.base, axis: size}))) for size in along]
            measured = [(size, row["measures"]) for size, row in points if row is not None]
            if len(measured) > 1:
                seconds, extra = ([its[what] for _, its in measured] for what in ("seconds", "extra_mib"))
                found.append(Curve(name, axis, [size for size, _ in measured], seconds, extra))
    return found


# -- The picture -------------------------------------------------------------------------------------------------------

STYLES = {  # Okabe and Ito's colors, which color-blind readers tell apart; markers for print
    "cross-entropy": ("#000000", "o"),
    "elr": ("#0072b2", "s"),
    "elr-state": ("#56b4e9", "v"),
    "vote": ("#d55e00", "D"),
    "mixture": ("#cc79a7", "^"),
    "issues": ("#009e73", "P"),
    "influence": ("#e69f00", "X"),
}


def draw(found: Sequence[Curve], path: Path) -> None:
    """Seconds above, memory below, over rows, classes and columns; both axes logarithmic."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(11, 6.6), dpi=110, layout="constrained")
    axes = figure.subplots(2, 3, sharex="col", sharey="row", width_ratios=[1.3, 1, 1])
    for column, (axis, what) in zip(axes.T, AXES.items(), strict=True):
        for curve in (c for c in found if c.axis == axis):
            color, marker = STYLES[curve.task]
            how = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.5}
            column[0].plot(curve.sizes, curve.seconds, **how)
            column[1].plot(curve.sizes, [max(mib, LEAST_MIB) for mib in curve.extra_mib], **how)
        column[0].set_title(f"along {what} ({axis})", fontsize=11)
        column[1].set_xlabel(what)
        for cell in column:
            cell.set(xscale="log", yscale="log")
            cell.grid(color="#dddddd", linewidth=0.6)
            cell.spines[["top", "right"]].set_visible(False)
    for cell, label in zip(axes[:, 0], ("CPU seconds, one thread", "MiB beyond the inputs"), strict=True):
        cell.set_ylabel(label)
    for row in axes:
        for cell in row:
            _guides(cell)
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=5, label=TASKS[name].title)
        for name, (color, marker) in STYLES.items()
        if any(curve.task == name for curve in found)
    ]
    handles += [Line2D([], [], color="#999999", linestyle=style, label=text) for text, style, _ in GUIDES]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


LEAST_MIB = 0.1
"""Where less memory is drawn: a logarithm has no zero."""

GUIDES = (("in proportion", "--", 1), ("its square", ":", 2))


def _guides(cell: Any) -> None:
    """Lines of known slope from the lower left corner; they leave the limits as they are."""
    (left, right), (low, high) = cell.get_xlim(), cell.get_ylim()
    for _, style, power in GUIDES:
        x = np.array([left, right])
        cell.plot(x, low * (x / left) ** power, color="#999999", linestyle=style, linewidth=1, zorder=0)
    cell.set(xlim=(left, right), ylim=(low, high))


# -- The command -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.scaling", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS), dest="tasks")
    parser.add_argument("--results", type=Path, default=FILE, metavar="FILE")
    parser.add_argument("--again", action="store_true", help="measure what is stored, too")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves")
    parser.add_argument("--point", nargs=2, metavar=("TASK", "SIZES"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.point:
        print(json.dumps(measure(TASKS[options.point[0]], json.loads(options.point[1]))))
        return
    harness.pin()  # what it sets, the processes inherit
    done = [] if options.again else read_rows(options.results)
    for point in () if options.table else points(options.tasks):
        if find(done, point) is None:
            result = isolated(point["method"], point["params"])
            append_row(options.results, make_row(point, result))
            what = {"task": point["method"], **point["params"], **result}
            print(*(f"{key} {value}" for key, value in what.items()), sep=", ", flush=True)
    found = curves(read_rows(options.results))
    for curve in found:
        print(describe(curve))
    if options.plot:
        draw(found, options.plot)


def describe(curve: Curve) -> str:
    """A line for a person."""
    return (
        f"{TASKS[curve.task].title:<30} {curve.axis}: {curve.sizes[0]:>7,} to {curve.sizes[-1]:>10,}   "
        f"{curve.seconds[0]:8.3g} to {curve.seconds[-1]:8.3g} s   slope {curve.slope:5.2f}, at the end "
        f"{curve.last_slope:5.2f}, expected at most {curve.expected:g}{'   STEEPER' if curve.steeper else ''}"
    )


if __name__ == "__main__":
    main()
