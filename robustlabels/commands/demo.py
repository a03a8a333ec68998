"""The demonstration: an audit of digits whose wrong labels are known, and what plain training makes of them."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robustlabels.commands import audit
from robustlabels.methods.baselines import CrossEntropyClassifier
from robustlabels.metrics import detection_report
from robustlabels.noise import SymmetricNoise

__all__ = ["demo", "draw_suspects", "register"]


def register(commands: Any) -> None:
    """Add ``demo`` to the commands of the package.

    Parameters
    ----------
    commands : subparsers of an ArgumentParser
    """
    command = commands.add_parser(
        "demo",
        help="see it work on images of digits, 40 %% of their labels made wrong",
        description="Change 40 % of the labels of scikit-learn's digits, audit them, compare with what was changed.",
    )
    command.set_defaults(run=demo)
    command.add_argument("--out", metavar="FOLDER", type=Path, default=Path("demo"), help="default: demo")
    audit.add_length_and_seed(command)


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
    command = [str(source), f"--out={suspects}", f"--out={page}", *options]
    print("\n$ robustlabels audit", *command)
    parser = argparse.ArgumentParser()
    audit.add_arguments(parser)
    elr = audit.carry_out(parser.parse_args(command)).classifier

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
