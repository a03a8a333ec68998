"""Command line of the comparison: ``robustlabels compare``."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

from robustlabels.comparison.entries import ENTRIES
from robustlabels.comparison.problems import PROBLEMS
from robustlabels.comparison.runs import run_comparison
from robustlabels.comparison.storage import Row, read_rows
from robustlabels.comparison.suites import SUITES
from robustlabels.comparison.tables import plot, summarize


def register(commands: Any) -> None:
    """Add ``compare`` to the commands of the package.

    Parameters
    ----------
    commands : subparsers of an ArgumentParser
    """
    methods = textwrap.fill(f"methods: {', '.join(ENTRIES)}", 88, subsequent_indent="  ")
    suites = "\n".join(f"  {name:<8} {suite.title}" for name, suite in SUITES.items())
    command = commands.add_parser(
        "compare",
        help="compare methods on data with known wrong labels",
        description="Run methods x data x noise x seeds, a line of JSON a run, and print means over seeds.",
        epilog=f"suites:\n{suites}\n\n{methods}\n\nThe suite for a GPU, CIFAR-10 at full size, is "
        "benchmarks/studies/cifar10.py of the source.",
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
        "--results", metavar="FILE", type=Path, help="append to and resume from (default: comparison-SUITE.jsonl)"
    )
    command.add_argument("--jobs", metavar="N", type=int, default=1, help="runs at the same time (default: 1)")
    command.add_argument("--device", default="cpu", help="default: cpu, one thread a run")
    command.add_argument("--plot", metavar="FOLDER", type=Path, help="also draw the results")
    command.add_argument("--table", action="store_true", help="run nothing, print the stored results")


def _command(args: argparse.Namespace) -> int:
    """Run the command; return 1 if a run failed or its detection could not be measured, else 0."""
    suite = SUITES[args.suite]
    results = args.results or Path(f"comparison-{args.suite}.jsonl")
    if args.table:
        rows = read_rows(results)
        if not rows:
            raise ValueError(f"{results} has no rows; run the suite without --table first.")
        rows = _only(rows, {"data": args.data, "method": args.methods, "noise": args.noise, "seed": args.seeds})
    else:
        rows = run_comparison(
            args.methods,
            args.data or suite.data,
            args.noise or suite.noise,
            args.seeds or suite.seeds,
            results=results,
            n_jobs=args.jobs,
            device=args.device,
        )
    print(f"\n{summarize(rows)}")
    if args.plot is not None:
        print("\ndrawn:", *plot(rows, args.plot))
    return 0 if args.table else int(any(row.get("error") or "no_detection" in row for row in rows))


def _only(rows: list[Row], wanted: dict[str, list[Any] | None]) -> list[Row]:
    """Return the rows of the given data, methods, noise and seeds; None stands for all."""
    for name, its in wanted.items():
        there = list(dict.fromkeys(row[name] for row in rows))
        if lost := [it for it in its or () if it not in there]:
            raise ValueError(
                f"No stored row has {name} {', '.join(map(str, lost))}; of the other choices the rows have "
                f"{', '.join(map(str, there))}."
            )
        rows = [row for row in rows if its is None or row[name] in its]
    return rows
