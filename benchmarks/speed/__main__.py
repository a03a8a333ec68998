"""Measure speed and memory as ratios.

::

    python -m benchmarks.speed --list
    python -m benchmarks.speed NAME [NAME ...|all] [--results FILE] [--quick]
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from pathlib import Path

from benchmarks.speed import harness

MODULES = (
    "label_issues",
    "epochs",
    "functions",
    "influence_scores",
    "memory",
    "moit_parts",
    "sanm_masking",
    "training",
)


def registry() -> dict[str, str]:
    """Return the names of all benchmarks, and what they compare."""
    for name in MODULES:
        importlib.import_module(f"benchmarks.speed.{name}")  # registers its benchmarks
    return {name: harness.summary(name) for name in harness.REGISTRY}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="a name of the list, or all")
    parser.add_argument("--list", action="store_true", help="print the names, and what they compare")
    parser.add_argument("--results", type=Path, metavar="FILE", help="append one row per ratio")
    parser.add_argument("--quick", action="store_true", help="smaller data, three rounds: only checks that all runs")
    options = parser.parse_args(arguments)
    harness.pin()  # before numpy is imported
    known = registry()
    if options.list:
        for name, what in known.items():
            print(f"{name:<10} {what}")
        return 0
    if not options.names:
        parser.error("name a benchmark, or all; --list prints the names")
    names = list(known) if "all" in options.names else options.names
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            parser.error(f"no benchmark {name!r}; " + (f"did you mean {close[0]!r}?" if close else "see --list"))
    ratios = [ratio for name in names for ratio in harness.run(name, options.quick, options.results)]
    return int(any(ratio.regressed for ratio in ratios) and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
