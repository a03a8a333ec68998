"""The training of an audit: choose a method, build its estimator, fit it and report on the labels."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robustlabels import methods
from robustlabels.commands.audit_data import Data
from robustlabels.detection import AutoNoiseDetector
from robustlabels.report.label_report import LabelReport
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.dynamics import fit_recorded

__all__ = ["AUTO", "METHODS", "PAGES", "Audit", "default_method", "is_table", "make_estimator"]

METHODS = {name.lower(): method.classifier for name, method in methods.METHODS.items()}
"""Classifiers by the name that ``--method`` gives them."""

AUTO = "auto"
"""The one method that is a detector: :class:`~robustlabels.AutoNoiseDetector`."""

PAGES = (".html", ".htm")


def default_method(data: Data, checkpoint: Path | None = None) -> str:
    """What ranks best, "auto", where it takes seconds; "elr", which can be stopped and gone on with, where hours.

    Parameters
    ----------
    data : Data
    checkpoint : Path or None, default=None

    Returns
    -------
    str
    """
    return AUTO if is_table(data) and checkpoint is None else "elr"


def is_table(data: Data) -> bool:
    """Return whether the rows are plain numbers, and not images, which take far longer to train on."""
    return isinstance(data.X, np.ndarray) and data.X.ndim == 2


def make_estimator(
    method: str,
    data: Data,
    *,
    module: str = "auto",
    epochs: int | None = None,
    device: str = "auto",
    checkpoint: Path | None = None,
    seed: int = 0,
) -> Any:
    """An unfitted classifier, or detector, that shows its progress.

    Parameters
    ----------
    method : str
        One of METHODS, or "auto".
    data : Data
    module : str, default="auto"
    epochs : int or None, default=None
        None is the method's own default.
    device : str, default="auto"
    checkpoint : Path or None, default=None
    seed : int, default=0

    Returns
    -------
    estimator
    """
    given: dict[str, Any] = {} if epochs is None else {"max_epochs": epochs}
    if method != AUTO:
        kind = METHODS[method]
        return kind(module, device=device, checkpoint=checkpoint, random_state=seed, verbose=1, **given)
    if checkpoint is not None:
        raise ValueError("--checkpoint goes with one network, and --method auto trains two; leave one of them out.")
    detector = AutoNoiseDetector(device=device, random_state=seed)
    network = detector._trained(len(data.y), table=is_table(data))
    network.set_params(verbose=1, **given, **({} if module == "auto" else {"module": module}))
    return detector.set_params(estimator=network)


class Audit:
    """What a classifier or detector thinks of every label; ``print`` it for a summary.

    Parameters
    ----------
    data : Data
    classifier : classifier or detector of this package
        Is fitted; a fit that was interrupted counts up to its last finished epoch.

    Attributes
    ----------
    data, classifier
        As given, the classifier fitted.
    report : :class:`~robustlabels.LabelReport`
    seconds : float
        That the fit took.
    interrupted : bool
        Whether it was.
    """

    def __init__(self, data: Data, classifier: Any) -> None:
        self.data, self.classifier = data, classifier
        self.interrupted = False
        recorded = isinstance(classifier, BaseNoisyLabelClassifier)
        fit = partial(fit_recorded, classifier) if recorded else classifier.fit
        start = time.perf_counter()
        try:
            fit(data.X, data.y)
        except KeyboardInterrupt:
            if not hasattr(classifier, "noise_scores_"):
                raise
            self.interrupted = True
        self.seconds = time.perf_counter() - start
        self.report = LabelReport.from_estimator(
            classifier,
            data.show,
            data.y,
            texts=data.texts,
            names=data.names,
            y_true=data.y_true,
            row_numbers=data.rows,
        )

    def write(self, path: Path, title: str | None = None) -> None:
        """Write the result, whole or not at all: a page, or by the file's name a list for review.

        Parameters
        ----------
        path : Path
            An ``.html``, ``.csv``, ``.json`` or ``.label-studio.json`` file.
        title : str or None, default=None
            Of the page.
        """
        try:
            if path.suffix.lower() in PAGES:
                self.report.to_html(path, title=title)
            else:
                self.report.to_review(path)
        except OSError as error:
            raise OSError(f"{path} was not written: {error.strerror or error}.") from error

    def __str__(self) -> str:
        lines = str(self.report).splitlines()
        history = self.report.beliefs.history
        n_epochs = getattr(self.classifier, "n_iter_", None if history is None else len(history))
        epochs = "" if n_epochs is None else f"{n_epochs} epochs "
        return "\n".join([*lines[:3], f"trained          {epochs}in {self.seconds:.1f} seconds", *lines[3:]])
