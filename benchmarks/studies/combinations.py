"""Every method alone, under SANM, and after Influential Rank: accuracy and suspects over seeds, at the last epoch.

::

    python -m benchmarks.studies.combinations                                   # all that is not stored yet
    python -m benchmarks.studies.combinations --set digits --hosts CE ELR --plugs none SANM --labels sym40 --seeds 0

A seed fixes split, noise and network; what rides on a host shares all of its settings. A run is one line of
``docs/benchmarks/results/combinations.jsonl`` and is not repeated while it is there. Seconds are CPU time, one thread.
Fashion-MNIST is read from the folder ``ROBUSTLABELS_DATA``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits

import robustlabels as rl
from benchmarks.studies.robustness import environment, measure, published, small_table
from robustlabels.comparison import Split, append_row, isolated, mean_sd, read_rows

LINES = Path(__file__).parents[1] / "docs" / "benchmarks" / "results" / "combinations.jsonl"

HOSTS: dict[str, Callable[..., Any]] = {
    "CE": rl.CrossEntropyClassifier,
    "GCE": rl.GCEClassifier,
    "ELR": rl.ELRClassifier,
    "PEMM": rl.PEMMClassifier,
    "Co-teaching": rl.CoTeachingClassifier,
    "MOIT": rl.MOITClassifier,
    "DivideMix": rl.DivideMixClassifier,
}

PLUGS: dict[str, Callable[[Any, int], Any]] = {
    "none": lambda host, seed: host,
    "SANM": lambda host, seed: rl.SANMClassifier(host, random_state=seed),
    "IR": lambda host, seed: rl.InfluentialRankClassifier(host, random_state=seed),
}
"""What rides on a host: nothing, SANM, Influential Rank."""


@dataclass(frozen=True)
class Problem:
    """A set and what its runs share; ``plugs`` says which labels each plug is tried with."""

    title: str
    split: Callable[[str, int], Split]
    plugs: dict[str, Sequence[str]]
    shared: dict[str, Any] = field(default_factory=dict)


NOISES = ("sym20", "sym40", "sym60", "pair40")


def digits_images(labels: str, seed: int) -> Split:
    """Digits as images of one channel in [0, 1]."""
    split = small_table(load_digits, labels, seed)
    X, X_test = (x.reshape(-1, 1, 8, 8) / 16 for x in (split.X, split.X_test))
    return replace(split, X=X, X_test=X_test)


PROBLEMS = {
    "digits": Problem(
        "Digits as rows of 64 columns, 1257 rows, the defaults",
        lambda labels, seed: small_table(load_digits, labels, seed),
        {"none": NOISES, "SANM": NOISES, "IR": ("sym40", "pair40")},
    ),
    "digits_images": Problem(
        "Digits as images of 8 x 8 pixels, 1257 images, the small convolutional preset of 16 channels, 50 epochs",
        digits_images,
        {"none": NOISES, "SANM": NOISES, "IR": ()},
        {"module": "cnn", "module__width": 16, "max_epochs": 50},
    ),
    "fashion_mnist": Problem(
        "Fashion-MNIST, 10 000 images of 28 x 28 pixels, the small convolutional preset of 8 channels, 20 epochs",
        lambda labels, seed: published(rl.datasets.load_fashion_mnist, 10_000, labels, seed),
        {"none": NOISES, "SANM": NOISES, "IR": ("sym40", "pair40")},
        {"module": "cnn", "module__width": 8, "max_epochs": 20},
    ),
}


Key = tuple[str, str, str, str, int]


def keys(options: argparse.Namespace) -> Iterator[Key]:
    """Set, labels, host, plug and seed of every run that was asked for."""
    for name in options.sets:
        for labels in NOISES:
            for host in options.hosts:
                for plug in options.plugs:
                    if labels in options.labels and labels in PROBLEMS[name].plugs[plug]:
                        yield from ((name, labels, host, plug, seed) for seed in options.seeds)


def key_of(line: dict[str, Any]) -> Key:
    """Which run a stored line is of."""
    return tuple(line["settings"][k] for k in ("set", "labels", "host", "plug", "seed"))  # type: ignore[return-value]


def carry_out(key: Key) -> dict[str, Any]:
    """Fit and measure one combination."""
    name, labels, host, plug, seed = key
    estimator = PLUGS[plug](HOSTS[host](**PROBLEMS[name].shared, random_state=seed), seed)
    return measure(estimator, PROBLEMS[name].split(labels, seed))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.combinations",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--set", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, dest="sets", metavar="NAME")
    parser.add_argument("--hosts", nargs="+", default=list(HOSTS), choices=HOSTS, metavar="HOST")
    parser.add_argument("--plugs", nargs="+", default=list(PLUGS), choices=PLUGS, metavar="PLUG")
    parser.add_argument("--labels", nargs="+", default=list(NOISES), choices=NOISES, metavar="LABELS")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    groups: dict[Key, list[dict[str, Any]]] = {}
    for key in keys(options):
        line = next((done for done in read_rows(LINES) if key_of(done) == key), None)
        if line is None:
            settings = dict(zip(("set", "labels", "host", "plug", "seed"), key, strict=True))
            line = {
                "settings": settings,
                "result": isolated(lambda key=key: carry_out(key)),
                "environment": environment(),
            }
            append_row(LINES, line)
        print(*key, {k: round(v, 3) for k, v in line["result"].items()}, flush=True)
        groups.setdefault((*key[:4], -1), []).append(line["result"])
    for key, results in groups.items():
        cells = [
            f"{column} {mean_sd([r[column] for r in results])}"
            for column in ("test_accuracy", "average_precision", "cpu_seconds")
        ]
        print(*key[:4], f"({len(results)} seeds)", *cells, sep="  ")


if __name__ == "__main__":
    main()
