"""Every method alone, in SANM, and with Influential Rank after it: accuracy and detection at the last epoch.

::

    python -m benchmarks.studies.combinations                                   # all that is not stored yet
    python -m benchmarks.studies.combinations --set digits --bases CE ELR --wrappers none SANM --noise sym40 --seeds 0

A seed fixes split, noise and network; a wrapper shares all settings of its base classifier. A run is one row of
``docs/benchmarks/results/combinations.jsonl`` and is not repeated. Seconds are CPU time of one thread. Fashion-MNIST is
read from the folder ``ROBUSTLABELS_DATA``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

import robustlabels as rl
from benchmarks.results import Run, carry_out, identity, in_a_process, path_of
from benchmarks.studies.problems import DIGITS, digit_images, fashion_mnist, problem
from benchmarks.studies.robustness import measure, values
from robustlabels.comparison import Row, mean_sd

FILE = path_of(__file__)

BASES: dict[str, Callable[..., Any]] = {
    "CE": rl.CrossEntropyClassifier,
    "GCE": rl.GCEClassifier,
    "ELR": rl.ELRClassifier,
    "PEMM": rl.PEMMClassifier,
    "Co-teaching": rl.CoTeachingClassifier,
    "MOIT": rl.MOITClassifier,
    "DivideMix": rl.DivideMixClassifier,
}

WRAPPERS: dict[str, Callable[[Any, int], Any]] = {
    "none": lambda base, seed: base,
    "SANM": lambda base, seed: rl.SANMClassifier(base, random_state=seed),
    "IR": lambda base, seed: rl.InfluentialRankClassifier(base, random_state=seed),
}

NOISE = ("sym20", "sym40", "sym60", "pair40")

PROBLEMS = {
    "digits": replace(DIGITS, title="Digits as rows of 64 columns, 1257 rows, the defaults", noise=NOISE),
    "digits_images": problem(
        "digits_images",
        digit_images,
        1257,
        *NOISE,
        title="Digits as images of 8 x 8 pixels, 1257 images, the small convolutional preset of 16 channels, 50 epochs",
        shared={"module": "cnn", "module__width": 16, "max_epochs": 50},
    ),
    "fashion_mnist": fashion_mnist(
        10_000,
        *NOISE,
        title="Fashion-MNIST, 10 000 images of 28 x 28 pixels, the small convolutional preset of 8 channels, 20 epochs",
        shared={"module": "cnn", "module__width": 8, "max_epochs": 20},
    ),
}

RANKED = {"digits": ("sym40", "pair40"), "digits_images": (), "fashion_mnist": ("sym40", "pair40")}
"""Noise that Influential Rank is tried with; the others are tried with all of it."""


def runs(options: argparse.Namespace) -> Iterator[Run]:
    """Yield every run that was asked for."""
    for name in options.sets:
        for noise in (noise for noise in NOISE if noise in options.noise):
            for base in options.bases:
                for wrapper in options.wrappers:
                    if wrapper != "IR" or noise in RANKED[name]:
                        yield from (run(name, noise, base, wrapper, seed) for seed in options.seeds)


def run(name: str, noise: str, base: str, wrapper: str, seed: int) -> Run:
    """Return one run."""

    def work() -> Row:
        estimator = WRAPPERS[wrapper](BASES[base](**PROBLEMS[name].shared, random_state=seed), seed)
        return measure(estimator, PROBLEMS[name].split(noise, seed))

    method = base if wrapper == "none" else f"{wrapper}({base})"
    params = {"base": base, "wrapper": None if wrapper == "none" else wrapper}
    return Run(identity(name, noise, method, seed, params=params), work)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.combinations",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--set", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, dest="sets", metavar="NAME")
    parser.add_argument("--bases", nargs="+", default=list(BASES), choices=BASES, metavar="BASE")
    parser.add_argument("--wrappers", nargs="+", default=list(WRAPPERS), choices=WRAPPERS, metavar="WRAPPER")
    parser.add_argument("--noise", nargs="+", default=list(NOISE), choices=NOISE, metavar="NOISE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in carry_out(FILE, map(in_a_process, runs(options))):
        groups.setdefault((row["data"], row["noise"], row["method"]), []).append(row)
    for key, rows in groups.items():
        cells = [
            f"{column} {mean_sd(values(rows, column))}"
            for column in ("test_accuracy", "average_precision", "cpu_seconds")
        ]
        print(*key, f"({len(rows)} seeds)", *cells, sep="  ")


if __name__ == "__main__":
    main()
