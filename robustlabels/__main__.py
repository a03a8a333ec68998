"""The command line: ``robustlabels audit DATA`` ranks the labels of a data set by how wrong they look."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robustlabels import __version__, benchmark
from robustlabels.audit import AUTO, METHODS, Audit, check_output, check_writable, make_estimator, read, reviewed
from robustlabels.baselines import CrossEntropyClassifier
from robustlabels.metrics import detection_report
from robustlabels.noise import SymmetricNoise
from robustlabels.review import format_of

DESCRIPTION = """\
Find wrong labels: train a network in a way that does not memorise them, and list
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


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands.

    Returns
    -------
    parser : ArgumentParser
    """
    parser = argparse.ArgumentParser(
        "robustlabels", description=DESCRIPTION, epilog="robustlabels audit --help has examples."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "audit",
        help="rank the labels of a table, of arrays or of a folder of images",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run_audit)
    command.add_argument(
        "data", metavar="DATA", help="a .csv, .tsv or .parquet table, an .npz or .npy, a folder of images"
    )

    rows = command.add_argument_group("the data")
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

    how = command.add_argument_group("the training")
    how.add_argument(
        "--method",
        choices=[*METHODS, AUTO],
        default="elr",
        metavar="NAME",
        help=f"{', '.join(METHODS)}; or auto, two networks and the neighbours' vote (default: elr)",
    )
    how.add_argument("--module", metavar="NAME", default="auto", help="mlp, cnn, resnet18 ... (default: auto)")
    how.add_argument("--device", default="auto", help="cpu, cuda, mps (default: auto, the fastest there is)")
    how.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="kept while training; the same command goes on from there"
    )

    result = command.add_argument_group("the result")
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

    example = commands.add_parser(
        "demo",
        help="see it work on images of digits, 40 %% of their labels made wrong",
        description="Change 40 % of the labels of scikit-learn's digits, audit them, compare with what was changed.",
    )
    example.set_defaults(run=demo)
    example.add_argument("--out", metavar="FOLDER", type=Path, default=Path("demo"), help="default: demo")

    for each in (how, example):
        each.add_argument("--epochs", metavar="N", type=int, help="default: by the number of rows, at least 50")
        each.add_argument("--seed", metavar="N", type=int, default=0, help="same seed, same result (default: 0)")

    benchmark.register(commands)
    return parser


def audit(args: argparse.Namespace) -> Audit:
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
    for path in outputs:
        check_output(path)
    if args.checkpoint is not None:
        check_writable(args.checkpoint)
    if args.fail_above is not None and not 0 <= args.fail_above <= 1:
        raise ValueError(f"--fail-above must be a share in [0, 1], got {args.fail_above:g}.")
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
    if args.verdicts:
        data = reviewed(data, args.verdicts)
    if data.notes:
        print("data", *data.notes, sep="\n  ")
    settings = {name: getattr(args, name) for name in ("module", "epochs", "device", "checkpoint", "seed")}
    result = Audit(data, make_estimator(args.method, data, **settings))
    for path in outputs:
        result.write(path, args.title or f"Labels of {Path(args.data).name}")
    print(result)
    for path in outputs:
        print(f"written          {path}")
        if path.suffix.lower() == ".json" and format_of(path) == "label-studio":
            print("the labelling interface to paste into Label Studio:", result.report.label_studio_config(), sep="\n")
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def run_audit(args: argparse.Namespace) -> int:
    """``robustlabels audit``: 1 if there is more noise than was asked for, else 0."""
    result = audit(args)
    noise = result.report.beliefs.noise_rate
    if args.fail_above is None or noise <= args.fail_above:
        return 0
    _say("error", f"{noise:.1%} of the labels look wrong, more than {args.fail_above:.1%}.")
    return 1


# --- the demonstration ------------------------------------------------------------------------------------------------


def demo(args: argparse.Namespace) -> None:
    """Audit digits whose wrong labels are known.

    Parameters
    ----------
    args : Namespace
        Of the command line.
    """
    args.out.mkdir(parents=True, exist_ok=True)
    names = ("digits.npz", "suspects.csv", "suspects.png", "report.html")
    source, suspects, picture, page = (args.out / name for name in names)
    digits = load_digits()
    images = digits.images.astype(np.uint8)[:, None]  # (1797, 1, 8, 8)
    X, X_test, y, y_test = train_test_split(
        images, digits.target, test_size=0.25, stratify=digits.target, random_state=args.seed
    )
    noise = SymmetricNoise(0.4, random_state=args.seed)
    y_noisy = noise.flip(y)
    np.savez(source, X=X, y=y_noisy)
    print(f"{len(X):,} images of digits, {noise.rate_:.1%} of their labels changed to a wrong one.")

    options = [
        f"--{name}={value}" for name, value in (("epochs", args.epochs), ("seed", args.seed)) if value is not None
    ]
    command = ["audit", str(source), f"--out={suspects}", f"--out={page}", *options]
    print("\n$ robustlabels", *command)
    elr = audit(build_parser().parse_args(command)).classifier

    found = detection_report(elr.noise_scores_, noise.flip_mask_, noise_mask=elr.noise_mask_)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    proba = cross_val_predict(logistic, X.reshape(len(X), -1), y_noisy, method="predict_proba")
    plain = detection_report(1 - proba[np.arange(len(y)), y_noisy], noise.flip_mask_).average_precision
    print("\nThe suspects against the labels that were changed, which the audit did not know:")
    print(f"  precision          {found.precision:.3f}")
    print(f"  recall             {found.recall:.3f}")
    print(f"  average precision  {found.average_precision:.3f}  (out-of-fold logistic regression {plain:.3f})")

    print("\nPlain cross-entropy, same network, batches and epochs:")
    shared = CrossEntropyClassifier().get_params().keys()
    settings = {name: value for name, value in elr.get_params().items() if name in shared}
    cross_entropy = CrossEntropyClassifier(**settings).fit(X, y_noisy)
    print(f"\nAccuracy after the last epoch, number {elr.n_iter_}  cross-entropy  ELR")
    for what, rows, labels in (
        ("new images, right labels", X_test, y_test),
        ("training images, noisy labels", X, y_noisy),
    ):
        print(f"  {what:37}  {cross_entropy.score(rows, labels):13.3f}  {elr.score(rows, labels):.3f}")
    print(
        f"  ({1 - noise.rate_:.1%} of the noisy labels are right: above that, wrong labels have been learned by heart)"
    )

    worst = np.argsort(-elr.noise_scores_, kind="stable")[:32]
    draw_suspects(picture, X[worst, 0], y_noisy[worst], elr.suggested_labels_[worst], noise.flip_mask_[worst], len(X))
    print(f"\nsee {page}, {suspects} and {picture}")


def draw_suspects(path: Path, images: Any, given: Any, suggested: Any, wrong: Any, n_rows: int) -> None:
    """Save a gallery of suspects whose truth is known.

    Parameters
    ----------
    path : Path
        Of the PNG.
    images : ndarray of shape (n_images, height, width)
    given, suggested : ndarray of shape (n_images,)
        Labels.
    wrong : ndarray of shape (n_images,), dtype bool
        True where the given label is wrong indeed.
    n_rows : int
        Of the data set the images are from.
    """
    try:
        figure = import_module("matplotlib.figure").Figure(figsize=(10, 6.6), dpi=120)
    except ImportError as error:
        raise ImportError('A picture needs matplotlib: pip install "robustlabels[report]".') from error
    figure.suptitle(
        f"{wrong.sum()} of the {len(wrong)} most suspicious labels among {n_rows:,} are wrong", fontsize=15, y=0.975
    )
    figure.text(0.5, 0.905, "given → suggested     ✓ wrong indeed     ✗ was right", ha="center", fontsize=11)
    axes = figure.subplots(4, 8, gridspec_kw={"top": 0.84, "bottom": 0.02, "left": 0.02, "right": 0.98, "hspace": 0.35})
    for axis, image, before, after, hit in zip(axes.flat, images, given, suggested, wrong, strict=False):
        axis.imshow(image, cmap="gray_r")
        axis.set_title(f"{before} → {after}  {'✓' if hit else '✗'}", color="#0072b2" if hit else "#d55e00", fontsize=12)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.savefig(path)


# --- main -------------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str or None, default=None
        The arguments; None takes the command line's.

    Returns
    -------
    status : int
        0; 1 where a limit that was asked for is not kept; 2 after an error, told in one line; 130 after an
        interruption, what was learned by then being written.
    """
    args = build_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say("warning", message)
        try:
            status = args.run(args)
        except (ImportError, OSError, ValueError, FloatingPointError) as error:
            _say("error", error)
            return 2
        except KeyboardInterrupt:
            kept = getattr(args, "checkpoint", None)
            _say("error", f"interrupted{f'; the same command goes on from {kept}' if kept else ''}.")
            return 130
    return status or 0


def _say(kind: str, message: Any) -> None:
    text = " ".join(str(message).split()).replace("skip_corrupt=True", "--skip-corrupt")
    print(f"robustlabels: {kind}: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
