"""Compare candidates inside one process, in interleaved rounds, and judge the ratio by its spread.

Absolute times say more about the machine than about the code, so none is ever a target. A ratio is taken per round, so
both of its sides met the same machine, and of one thread's CPU time, which neighbors on the machine disturb little.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOISY = 1.6
"""A base candidate whose slowest round takes this many times its fastest one says nothing."""

SLACK = 0.3
"""How far the worse quartile may lie beyond the target before it counts as a regression."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")

SHORTEST = 0.01
"""CPU seconds below which a candidate is called several times a round: a clock and cold caches are no part of it."""

Candidate = Callable[[], Any]


# -- The machine ------------------------------------------------------------------------------------------------------


def pin() -> None:
    """One thread, one BLAS kernel, blocks that stay: call it before numpy is imported."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    if "avx512f" in cpu_flags():  # detected anew by every process, and not always the same: 1.9 times apart
        os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")
    keep_memory()
    import torch

    torch.set_num_threads(1)


def keep_memory() -> bool:
    """Ask glibc to keep large freed blocks: else every training step page-faults its activations anew, 1.3-2.2 times.

    Returns
    -------
    bool
        Whether it was done.
    """
    trim_threshold, mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(mmap_threshold, 1 << 30) and mallopt(trim_threshold, 2_000_000_000))


def cpu_flags() -> set[str]:
    """What ``lscpu`` lists, or nothing where there is no /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":")[1].split()) for line in lines if line.startswith("flags")), set())


def where() -> dict[str, Any]:
    """Return the machine and the versions that a ratio depends on."""
    import torch

    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in cpu_flags()],
        "threads": torch.get_num_threads(),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
    }
    return {"machine": machine, "versions": {"python": platform.python_version(), "torch": torch.__version__}}


# -- Timing -----------------------------------------------------------------------------------------------------------


def interleave(candidates: dict[str, Candidate], rounds: int, budget: float = 30.0) -> dict[str, list[float]]:
    """CPU seconds of every candidate in every round; the order rotates from round to round.

    Parameters
    ----------
    candidates : dict of callables
        Each is called once more beforehand, to warm up. One that returns a float has measured the part that counts.
    rounds : int
    budget : float, default=30.0
        Wall seconds after which, from three rounds on, no further round begins.
    """
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for run in candidates.values():
        run()
    with _without_gc():
        repeats = {name: max(1, int(SHORTEST / _time(run, 1))) for name, run in candidates.items()}
        end = time.monotonic() + budget
        for r in range(rounds):
            if r >= 3 and time.monotonic() > end:
                break
            shift = r % len(names)
            for name in names[shift:] + names[:shift]:
                seconds[name].append(_time(candidates[name], repeats[name]))
            gc.collect()
    return seconds


def _time(run: Candidate, repeats: int) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    for _ in range(repeats):
        own = run()
    elapsed = (time.process_time() - start) / repeats
    return own if isinstance(own, float) else elapsed


@contextmanager
def _without_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -- Ratios -----------------------------------------------------------------------------------------------------------


@dataclass
class Ratio:
    """A quotient measured several times, and the target it is held to.

    Parameters
    ----------
    case : str
        What was measured.
    sides : str
        "numerator / denominator", in words.
    values : sequence of float
        One per round.
    at_least : bool
        Whether more is better.
    target : float or None, default=None
        None: for orientation only.
    noisy : bool, default=False
    seconds : dict
        Median CPU seconds of each side; for orientation.
    """

    case: str
    sides: str
    values: Sequence[float]
    at_least: bool
    target: float | None = None
    noisy: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """What is held to the target."""
        return statistics.median(self.values)

    @property
    def worse_quartile(self) -> float:
        """What a regression gate looks at: the lower quartile where more is better, else the upper one."""
        if len(self.values) < 2:
            return self.median
        lower, _, upper = statistics.quantiles(self.values, n=4, method="inclusive")
        return lower if self.at_least else upper

    @property
    def met(self) -> bool:
        """Whether the median reaches the target."""
        return self._reaches(self.median, slack=0.0)

    @property
    def regressed(self) -> bool:
        """Whether even with slack the worse quartile misses the target, on a machine quiet enough to say so."""
        return not self.noisy and not self._reaches(self.worse_quartile, SLACK)

    def _reaches(self, value: float, slack: float) -> bool:
        if self.target is None:
            return True
        return value >= self.target * (1 - slack) if self.at_least else value <= self.target * (1 + slack)

    @property
    def goal(self) -> str | None:
        """The target with its direction."""
        return None if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:g}"

    @property
    def verdict(self) -> str | None:
        """In a word: noisy, met or missed."""
        return "noisy" if self.noisy else None if self.target is None else "met" if self.met else "missed"

    def record(self) -> dict[str, Any]:
        """Return the rounded measures, and the verdict."""
        return {
            "median": round(self.median, 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "worse_quartile": round(self.worse_quartile, 4),
            "rounds": len(self.values),
            **{f"seconds of {name}": float(f"{s:.4g}") for name, s in self.seconds.items()},
            "verdict": self.verdict or "",
        }

    def __str__(self) -> str:
        spread = f"({min(self.values):.3g} .. {max(self.values):.3g})"
        goal = "" if self.goal is None else f"target {self.goal}"
        measured = f"{self.median:6.3g} {spread:<16}"
        return f"  {self.case:<42} {self.sides:<40} {measured} {goal:<14} {self.verdict or ''}".rstrip()


def compare(
    case: str,
    base: tuple[str, Candidate],
    other: tuple[str, Candidate],
    *,
    speedup: float | None = None,
    overhead: float | None = None,
    rounds: int = 11,
    budget: float = 30.0,
) -> Ratio:
    """Time two candidates against each other.

    Parameters
    ----------
    case : str
    base, other : (str, callable)
        Name and candidate. The base is what one would do without us.
    speedup, overhead : float
        The target, one of the two: base / other at least `speedup`, or other / base at most `overhead`. With neither,
        base / other is for orientation.
    rounds, budget
        As for :func:`interleave`.
    """
    at_least = overhead is None
    seconds = interleave(dict([base, other]), rounds, budget)
    return _quotient(case, seconds, base[0], other[0], at_least, speedup if at_least else overhead)


def costs(
    case: str, base: tuple[str, Candidate], others: dict[str, Candidate], *, rounds: int = 11, budget: float = 30.0
) -> list[Ratio]:
    """Time many candidates beside one base, all of them in every round: each other / base, without targets.

    Parameters
    ----------
    case : str
    base : (str, callable)
    others : dict of callables
    rounds, budget
        As for :func:`interleave`.
    """
    seconds = interleave({**dict([base]), **others}, rounds, budget)
    return [_quotient(case, seconds, base[0], other, at_least=False) for other in others]


def _quotient(
    case: str, seconds: dict[str, list[float]], base: str, other: str, at_least: bool, target: float | None = None
) -> Ratio:
    """Base / other where more is better, else other / base, round by round."""
    above, below = (base, other) if at_least else (other, base)
    return Ratio(
        case=case,
        sides=f"{above} / {below}",
        values=[a / b for a, b in zip(seconds[above], seconds[below], strict=True)],
        at_least=at_least,
        target=target,
        noisy=max(seconds[base]) / min(seconds[base]) > NOISY,
        seconds={name: statistics.median(seconds[name]) for name in (base, other)},
    )


# -- Registry ---------------------------------------------------------------------------------------------------------

Benchmark = Callable[[bool], Iterator[Ratio]]
REGISTRY: dict[str, Benchmark] = {}


class Skip(Exception):
    """Raised by a benchmark that this machine cannot run."""


def benchmark(function: Benchmark) -> Benchmark:
    """Register ``name(quick) -> ratios`` under its name; the docstring's first line describes it."""
    REGISTRY[function.__name__] = function
    return function


def run(name: str, quick: bool, file: Path | None) -> list[Ratio]:
    """Run one benchmark, print its ratios as they come, and append one row per ratio to a file of results.

    The rows of one run share their date and the wall seconds of the run.
    """
    print(f"{name}: {summary(name)}", flush=True)
    load_at_start, start = os.getloadavg()[0], time.monotonic()
    ratios = []
    try:
        for ratio in REGISTRY[name](quick):
            print(ratio, flush=True)
            ratios.append(ratio)
    except Skip as reason:
        print(f"  skipped: {reason}")
        return []
    if file is not None:
        spent = {
            "wall_seconds": round(time.monotonic() - start, 1),
            "load_before": round(load_at_start, 2),
            "load_after": round(os.getloadavg()[0], 2),
        }
        store(name, quick, ratios, spent, file)
    return ratios


def store(name: str, quick: bool, ratios: Sequence[Ratio], spent: dict[str, float], file: Path) -> None:
    """Append one row per ratio: its case is in ``params``, and its data are generated, the same for every seed."""
    # Imported here, because this module must be importable before numpy, which robustlabels imports.
    from benchmarks.results import identity
    from robustlabels.comparison import append_row, make_row

    date = None
    for ratio in ratios:
        params = {"case": ratio.case, "ratio": ratio.sides, "target": ratio.goal, "quick": quick}
        row = make_row(identity("generated", "none", name, 0, params=params), {**ratio.record(), **spent}, where())
        date = date or row["date"]
        append_row(file, {**row, "date": date})


def summary(name: str) -> str:
    """First line of a benchmark's docstring."""
    return (REGISTRY[name].__doc__ or "").strip().partition("\n")[0]
