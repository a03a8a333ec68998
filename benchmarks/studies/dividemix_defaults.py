"""Choose DivideMix's defaults, on seeds that no reported number uses: lambda_u by the noise, and one change at a time.

::

    python -m benchmarks.studies.dividemix_defaults              # what is not stored yet, then the tables of the page
    python -m benchmarks.studies.dividemix_defaults --minutes 2  # no run starts after two minutes
    python -m benchmarks.studies.dividemix_defaults --table      # run nothing

A run is one row of ``docs/benchmarks/results/dividemix_defaults.jsonl`` and is not repeated. Every number is of the
last epoch; a seed fixes split, noise and network.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from benchmarks.results import Run, carry_out, identity, path_of, print_tables
from benchmarks.studies.problems import DIGITS, IRIS, WINE
from robustlabels import CrossEntropyClassifier, DivideMixClassifier, ELRClassifier
from robustlabels.augment import ColumnCorruption
from robustlabels.comparison import Split
from robustlabels.metrics import detection_report

FILE = path_of(__file__)
SEEDS = (100, 101, 102)
SETS = {"digits": DIGITS, "iris": IRIS, "wine": WINE}
NOISE = [("digits", labels) for labels in ("sym20", "sym40", "sym60", "sym80", "pair40")]
MAIN = [(name, labels) for name in SETS for labels in ("clean", "sym40")]

# By name: what makes it, and where it is tried.
Candidate = tuple[Callable[..., Any], Sequence[tuple[str, str]]]
CANDIDATES: dict[str, Candidate] = {
    "cross-entropy": (CrossEntropyClassifier, [*MAIN, *NOISE]),
    "ELR": (ELRClassifier, [*MAIN, *NOISE]),
    "DivideMix": (DivideMixClassifier, [*MAIN, *NOISE]),
    "lambda_u=0": (lambda **p: DivideMixClassifier(lambda_u=0.0, **p), [*MAIN, *NOISE]),
    "lambda_u=25": (lambda **p: DivideMixClassifier(lambda_u=25.0, **p), [*MAIN, *NOISE]),
    "mixup_alpha=4": (lambda **p: DivideMixClassifier(mixup_alpha=4.0, **p), MAIN),
    "confidence_penalty=0": (
        lambda **p: DivideMixClassifier(confidence_penalty=0.0, **p),
        [*MAIN, ("digits", "pair40")],
    ),
    "warmup=0.1": (lambda **p: DivideMixClassifier(warmup=0.1, **p), [*MAIN, ("digits", "pair40")]),
    "ColumnCorruption(0.2)": (lambda **p: DivideMixClassifier(augment=ColumnCorruption(0.2), **p), MAIN),
}


def measure(estimator: Any, split: Split) -> dict[str, float]:
    """Return accuracy on right labels, and how well the wrong ones were found."""
    start = time.process_time()
    estimator.fit(split.X, split.given)
    found = {"accuracy": float(estimator.score(split.X_test, split.y_test)), "flagged": estimator.noise_rate_}
    found["cpu_seconds"] = time.process_time() - start
    wrong = split.given != split.true
    if wrong.any():
        report = detection_report(estimator.noise_scores_, wrong, noise_mask=estimator.noise_mask_)
        found |= {
            "AP": float(report.average_precision),
            "precision": float(report.precision),
            "recall": float(report.recall),
        }
    if hasattr(estimator, "clean_mask_"):
        found["not labeled"] = float((~estimator.clean_mask_).mean())
    return found


def runs() -> Iterator[Run]:
    """Yield every run."""
    for name, (make, problems) in CANDIDATES.items():
        for data, noise in dict.fromkeys(problems):
            for seed in SEEDS:
                estimator = make(random_state=seed, device="cpu")
                work = functools.partial(fitted, estimator, data, noise, seed)
                yield Run(identity(data, noise, name, seed), work)


def fitted(estimator: Any, data: str, noise: str, seed: int) -> dict[str, float]:
    """Return the measures of one run."""
    return measure(estimator, SETS[data].split(noise, seed))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.dividemix_defaults",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    carry_out(FILE, runs(), only_stored=options.table, minutes=options.minutes)
    print_tables("dividemix")


if __name__ == "__main__":
    main()
