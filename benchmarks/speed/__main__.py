"""``python -m benchmarks.speed --list`` and ``python -m benchmarks.speed NAME [NAME ...|all] [--results FILE] [--quick]``."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from benchmarks.speed import harness


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="names, and what they compare")
    run = commands.add_parser("run", help="measure; status 1 if one regressed beyond the slack")
    run.add_argument("names", nargs="+", metavar="NAME", help="a name from the list, or all")
    run.add_argument("--json", type=Path, metavar="FILE", help="append one line per benchmark")
    run.add_argument("--quick", action="store_true", help="smaller data, three rounds: does it run?")
    options = parser.parse_args(arguments)

    harness.pin()  # before numpy is imported
    from benchmarks import (  # noqa: F401 - they register themselves
        confident,
        epochs,
        functions,
        influence,
        memory,
        moit,
        sanm,
        training,
    )

    if options.command == "list":
        for name in harness.REGISTRY:
            print(f"{name:<10} {harness.summary(name)}")
        return 0
    names = list(harness.REGISTRY) if "all" in options.names else options.names
    for name in names:
        if name not in harness.REGISTRY:
            close = difflib.get_close_matches(name, harness.REGISTRY, n=1)
            parser.error(f"no benchmark {name!r}; " + (f"did you mean {close[0]!r}?" if close else "see list"))
    ratios = [ratio for name in names for ratio in harness.run(name, options.quick, options.json)]
    return int(any(ratio.regressed for ratio in ratios) and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
