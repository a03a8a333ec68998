"""The command line: ``robustlabels audit DATA`` ranks the labels of a data set by how wrong they look."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from robustlabels import __version__
from robustlabels.commands import audit, compare, demo


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    Returns
    -------
    parser : ArgumentParser
    """
    parser = argparse.ArgumentParser(
        "robustlabels", description=audit.DESCRIPTION, epilog="robustlabels audit --help has examples."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (audit, demo, compare):
        command.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        The arguments; None takes the command line's.

    Returns
    -------
    status : int
        0; 1 where a limit that was asked for is not kept, or a run of the comparison failed; 2 after an error, told in
        one line; 130 after an interruption, what was learned by then being written.
    """
    args = build_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: audit.say("warning", message)
        try:
            status = args.run(args)
        except (ImportError, OSError, ValueError, FloatingPointError) as error:
            audit.say("error", error)
            return 2
        except KeyboardInterrupt:
            kept = getattr(args, "checkpoint", None)
            audit.say("error", f"interrupted{f'; the same command goes on from {kept}' if kept else ''}.")
            return 130
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
