"""``robustlabels audit``: train a robust classifier on labeled data, and list every row with its most probable label.

The module holds the command itself. :mod:`~robustlabels.commands.audit_data` reads the data, and
:mod:`~robustlabels.commands.audit_training` builds and fits the estimator; their public names are available here too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from robustlabels.commands.audit_data import Data, read, reviewed
from robustlabels.commands.audit_training import (
    AUTO,
    METHODS,
    PAGES,
    Audit,
    default_method,
    is_table,
    make_estimator,
)
from robustlabels.report.evidence import report_extra
from robustlabels.report.review import format_of

__all__ = [
    "AUTO",
    "METHODS",
    "Audit",
    "Data",
    "add_arguments",
    "add_length_and_seed",
    "carry_out",
    "check_output",
    "check_writable",
    "default_method",
    "make_estimator",
    "read",
    "register",
    "reviewed",
    "say",
]

DESCRIPTION = """\
Find wrong labels: train a network in a way that does not memorize them, and list
every row with the label the network believes in, most suspicious first."""

EXAMPLES = """\
examples:
  robustlabels audit photos/ --out report.html
      images, one subfolder a class: photos/cat/1.jpg, photos/dog/7.png ...
  robustlabels audit reviews.csv --labels sentiment --out report.html --out list.csv
      a table: numbers, categories, dates and text are encoded, gaps filled
  robustlabels audit species.parquet --labels species --id specimen --drop file
      without the columns that would give the label away
  robustlabels audit news.npz --text text --method elr+ --epochs 100
      arrays of rows or of images, saved by numpy.savez(path, X=..., y=..., text=...)
  robustlabels audit photos/ --verdicts list.csv --out second.html
      once more, with what you decided about the rows in list.csv

results, by the name of --out:
  .html               one page with pictures; needs nothing but a browser
  .csv, .json         every row, most suspicious first
  .label-studio.json  the flagged rows as tasks for Label Studio

the columns of a list:
  row          which row, counted from 0 without the header
  path, name   which image; the row's name, with --id
  given        the label in the data
  suggested    the label the network believes in
  noise_score  1 - the probability of the given label
  confidence   the probability of the suggested label
  flagged      1 where the method takes the given label for wrong, else 0
  verdict      for you to fill in: confirm (the suggested label is right),
               reject (the given one is) or drop
  label        for you to fill in: the right label, where it is neither

what to do with it: look at the rows from the top, decide what is wrong, and stop
where the given labels are right. Give the list back with --verdicts.

exit status: 0 done, 1 more noise than --fail-above, 2 error, 130 interrupted (what
was learned by then is written; with --checkpoint the same command goes on)."""


def check_output(path: Path) -> None:
    """Raise, before any time is spent, unless a result of this kind can be written there.

    Parameters
    ----------
    path : Path
    """
    check_writable(path)
    if path.suffix.lower() in PAGES:
        for module in ("jinja2", "matplotlib", "PIL.Image"):
            report_extra(module)
        return
    try:
        format_of(path)
    except ValueError:
        kinds = f"{', '.join(PAGES)}, .csv, .json or .label-studio.json"
        raise ValueError(f"{path}: results are {kinds} files, by the end of their name.") from None


def check_writable(path: Path) -> None:
    """Raise unless a file can be written there.

    Parameters
    ----------
    path : Path
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a file; name a file to write to.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}; name another place.") from error


def register(commands: Any) -> None:
    """Add ``audit`` to the commands of the package.

    Parameters
    ----------
    commands : subparsers of an ArgumentParser
    """
    command = commands.add_parser(
        "audit",
        help="rank the labels of a table, of arrays or of a folder of images",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_command)
    add_arguments(command)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Everything ``audit`` is told, in three groups.

    Parameters
    ----------
    command : ArgumentParser
    """
    command.add_argument(
        "data", metavar="DATA", help="a .csv, .tsv or .parquet table, an .npz or .npy, a folder of images"
    )
    _add_data(command.add_argument_group("the data"))
    _add_training(command.add_argument_group("the training"))
    _add_result(command.add_argument_group("the result"))


def _add_data(rows: Any) -> None:
    rows.add_argument(
        "--labels", metavar="NAME", help="column of a table (required) or array (default: y) of labels; file for .npy"
    )
    rows.add_argument("--features", metavar="NAME", default="X", help="array of an .npz to learn from (default: X)")
    rows.add_argument(
        "--drop", metavar="COLUMN", action="append", default=[], help="column not to learn from; can be repeated"
    )
    rows.add_argument("--text", metavar="NAME", help="column or array of texts to show, not to learn from")
    rows.add_argument("--id", metavar="NAME", help="column or array that names the rows; not learned from")
    rows.add_argument("--truth", metavar="NAME", help="column or array of true labels, to measure with")
    rows.add_argument("--image-size", metavar="PIXELS", type=int, default=64, help="of a folder (default: 64)")
    rows.add_argument("--skip-corrupt", action="store_true", help="leave out images that cannot be read")
    rows.add_argument(
        "--verdicts",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a list with your verdicts, applied before training; can be repeated",
    )


def _add_training(how: Any) -> None:
    how.add_argument(
        "--method",
        choices=[*METHODS, AUTO],
        metavar="NAME",
        help=(
            f"{', '.join(METHODS)}; or auto, two networks and the neighbors' vote, which ranks better but cannot be "
            "interrupted (default: auto for rows of numbers, elr for images and with --checkpoint)"
        ),
    )
    how.add_argument("--module", metavar="NAME", default="auto", help="mlp, cnn, resnet18 ... (default: auto)")
    how.add_argument("--device", default="auto", help="cpu, cuda, mps (default: auto, the fastest there is)")
    how.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="kept while training; the same command goes on from there"
    )
    add_length_and_seed(how)


def add_length_and_seed(group: Any) -> None:
    """``--epochs`` and ``--seed``, of whatever trains.

    Parameters
    ----------
    group : ArgumentParser or a group of its arguments
    """
    group.add_argument("--epochs", metavar="N", type=int, help="default: by the number of rows, at least 50")
    group.add_argument("--seed", metavar="N", type=int, default=0, help="same seed, same result (default: 0)")


def _add_result(result: Any) -> None:
    result.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        action="append",
        help="report.html, list.csv, ... see below; can be repeated (default: suspects.csv)",
    )
    result.add_argument("--title", help="of the page")
    result.add_argument(
        "--fail-above", metavar="SHARE", type=float, help="exit with 1 if more than this share of labels looks wrong"
    )


def carry_out(args: argparse.Namespace) -> Audit:
    """Read, train, write, sum up.

    Parameters
    ----------
    args : Namespace
        Of the command line.

    Returns
    -------
    Audit
    """
    outputs = args.out or [Path("suspects.csv")]
    _check_options(args, outputs)
    data = _read(args)
    if data.notes:
        print("data", *data.notes, sep="\n  ")
    settings = {name: getattr(args, name) for name in ("module", "epochs", "device", "checkpoint", "seed")}
    estimator = make_estimator(args.method or default_method(data, args.checkpoint), data, **settings)
    with _one_thread() if is_table(data) and "OMP_NUM_THREADS" not in os.environ else nullcontext():
        result = Audit(data, estimator)
    _write(result, outputs, args.title or f"Labels of {Path(args.data).name}")
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def _check_options(args: argparse.Namespace, outputs: Sequence[Path]) -> None:
    """Raise before the training, which may take hours, if the result could not be written after it."""
    for path in outputs:
        check_output(path)
        for read_from in (Path(args.data), *args.verdicts):
            if path.exists() and read_from.exists() and path.samefile(read_from):
                raise ValueError(
                    f"{path} is read by this command and would be overwritten; name another file with --out."
                )
    if args.checkpoint is not None:
        check_writable(args.checkpoint)
    if args.fail_above is not None and not 0 <= args.fail_above <= 1:
        raise ValueError(
            f"--fail-above must be a share in [0, 1], got {args.fail_above:g}; pass 0.05 for 5 percent, for example."
        )


def _read(args: argparse.Namespace) -> Data:
    data = read(
        args.data,
        labels=args.labels,
        features=args.features,
        drop=args.drop,
        text=args.text,
        id=args.id,
        truth=args.truth,
        image_size=args.image_size,
        skip_corrupt=args.skip_corrupt,
        seed=args.seed,
    )
    return reviewed(data, args.verdicts) if args.verdicts else data


def _write(result: Audit, outputs: Sequence[Path], title: str) -> None:
    """Write all files, then print the summary and what was written."""
    for path in outputs:
        result.write(path, title)
    print(result)
    for path in outputs:
        print(f"written          {path}")
        if path.suffix.lower() == ".json" and format_of(path) == "label-studio":
            print("the labeling interface to paste into Label Studio:", result.report.label_studio_config(), sep="\n")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: a small network gains nothing from a second, which on a busy machine costs minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _command(args: argparse.Namespace) -> int:
    """``robustlabels audit``: 1 if there is more noise than was asked for, else 0."""
    result = carry_out(args)
    noise = result.report.beliefs.noise_rate
    if args.fail_above is None or noise <= args.fail_above:
        return 0
    say("error", f"{noise:.1%} of the labels look wrong, more than {args.fail_above:.1%}.")
    return 1


def say(kind: str, message: Any) -> None:
    """One line on the standard error stream, options called what they are on the command line.

    Parameters
    ----------
    kind : str
        "warning" or "error".
    message : object
    """
    text = " ".join(str(message).split()).replace("skip_corrupt=True", "--skip-corrupt")
    print(f"robustlabels: {kind}: {text}", file=sys.stderr)
