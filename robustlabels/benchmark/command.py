"""``robustlabels benchmark``: suites, and the command's arguments."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from robustlabels.benchmark.methods import METHODS
from robustlabels.benchmark.problems import PROBLEMS
from robustlabels.benchmark.runs import run_benchmark
from robustlabels.benchmark.storage import Row, read_rows
from robustlabels.benchmark.tables import plot, summarise


class Suite(NamedTuple):
    """What one command runs: arguments of :func:`~robustlabels.benchmark.run_benchmark`.

    Attributes
    ----------
    title : str
    data : tuple of str
    noise : tuple of str or None
    seeds : int
    """

    title: str
    data: tuple[str, ...]
    noise: tuple[str, ...] | None = None
    seeds: int = 3


CORE = ("digits", "wrench_trec", "noisyag_news", "jira_defects_dev", "cifar10_feats")

SUITES: dict[str, Suite] = {
    "smoke": Suite("does everything run? digits, 40 % wrong, one seed, every method", ("digits",), ("sym40",), 1),
    "core": Suite("five sets, four of them with real noise, three seeds", CORE),
    "pixels": Suite(
        "images as pixels, three seeds; hours, so stop and go on as you like", ("fashion_mnist", "cifar10")
    ),
}
"""Suites by name. The full-size one for a GPU is ``benchmarks/cifar10.py`` of the source."""


def register(commands: Any) -> None:
    """Add ``benchmark`` to the commands of the package.

    Parameters
    ----------
    commands : subparsers of an ArgumentParser
    """
    methods = textwrap.fill(f"methods: {', '.join(METHODS)}", 88, subsequent_indent="  ")
    suites = "\n".join(f"  {name:<8} {suite.title}" for name, suite in SUITES.items())
    command = commands.add_parser(
        "benchmark",
        help="compare methods on data with known wrong labels",
        description="Run methods x data x noise x seeds, a line of JSON a run, and print means over seeds.",
        epilog=f"suites:\n{suites}\n\n{methods}\n\nThe suite for a GPU, CIFAR-10 at full size, is "
        "benchmarks/cifar10.py of the source.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_command)
    command.add_argument("suite", choices=SUITES, nargs="?", default="smoke", help="default: smoke")
    command.add_argument("--methods", nargs="+", metavar="NAME", help="only these")
    command.add_argument("--data", nargs="+", metavar="NAME", help=f"only these: {', '.join(PROBLEMS)}")
    command.add_argument(
        "--noise", nargs="+", metavar="NAME", help="only these: clean, sym40, pair40, idn40, worse ..."
    )
    command.add_argument("--seeds", nargs="+", type=int, metavar="N", help="only these")
    command.add_argument(
        "--results", metavar="FILE", type=Path, help="go on from and append to (default: benchmark-SUITE.jsonl)"
    )
    command.add_argument("--jobs", metavar="N", type=int, default=1, help="runs at a time (default: 1)")
    command.add_argument("--device", default="cpu", help="default: cpu, one thread a run")
    command.add_argument("--plot", metavar="FOLDER", type=Path, help="also draw the results")
    command.add_argument("--table", action="store_true", help="run nothing, print what is stored of it")


def _command(args: argparse.Namespace) -> int:
    """``robustlabels benchmark``: 1 if a run failed, or its suspects could not be measured, else 0."""
    suite = SUITES[args.suite]
    results = args.results or Path(f"benchmark-{args.suite}.jsonl")
    if args.table:
        rows = read_rows(results)
        if not rows:
            raise ValueError(f"{results} has no rows; run the suite without --table first.")
        rows = _only(rows, {"data": args.data, "method": args.methods, "noise": args.noise, "seed": args.seeds})
    else:
        rows = run_benchmark(
            args.methods,
            args.data or suite.data,
            args.noise or suite.noise,
            args.seeds or suite.seeds,
            results=results,
            n_jobs=args.jobs,
            device=args.device,
        )
    print(f"\n{summarise(rows)}")
    if args.plot is not None:
        print("\ndrawn:", *plot(rows, args.plot))
    return 0 if args.table else int(any(row.get("error") or "no_detection" in row for row in rows))


def _only(rows: list[Row], wanted: dict[str, list[Any] | None]) -> list[Row]:
    """Rows of the data, methods, noise and seeds that were asked for; None asks for all."""
    for name, its in wanted.items():
        there = list(dict.fromkeys(row[name] for row in rows))
        if lost := [it for it in its or () if it not in there]:
            raise ValueError(
                f"no stored row has {name} {', '.join(map(str, lost))}; of what was asked for there is "
                f"{', '.join(map(str, there))}."
            )
        rows = [row for row in rows if its is None or row[name] in its]
    return rows
