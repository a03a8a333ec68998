"""The report on a fitted estimator: which labels look wrong, why, and what was decided about them.

:class:`LabelReport` reads a fitted classifier or detector and fits nothing itself. It ranks the labels, draws them,
writes one HTML page, and turns thresholds and a person's verdicts into repaired labels. Every change is recorded and
can be reverted.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustlabels.report import displays
from robustlabels.report.evidence import as_png_or_jpeg, plain, report_extra, shorten
from robustlabels.report.html_page import SIDES, render_page
from robustlabels.report.reported_rows import ReportedRows
from robustlabels.report.review import DROP, decide, format_of, label_studio_config, read_review, write_review
from robustlabels.training.beliefs import Beliefs, Ints, encode
from robustlabels.training.files import replace_file
from robustlabels.training.parameters import check_number

__all__ = ["LabelReport"]


class LabelReport:
    """Report on the labels that an estimator was fitted on: a ranking, pictures, and decisions.

    Made by :meth:`from_estimator`. In a notebook it shows itself.

    Parameters
    ----------
    beliefs : :class:`~robustlabels.training.beliefs.Beliefs`
        Of every row.
    X : array-like of shape (n_samples, ...) or None, default=None
        What is shown of each row: images, table rows or paths.
    texts : array-like of str or None, default=None
        Texts that are shown instead.
    names : sequence or None, default=None
        Names of the rows, shown beside their numbers.
    y_true : array-like of shape (n_samples,) or None, default=None
        True labels, where they are known, to measure with.
    channels : {"auto", "first", "last"}, default="auto"
    feature_names : sequence of str or None, default=None
        Names of the columns of X.
    row_numbers : array-like of shape (n_samples,) or None, default=None
        As in :meth:`from_estimator`.

    Attributes
    ----------
    beliefs : :class:`~robustlabels.training.beliefs.Beliefs`
    decisions_ : DataFrame
        After :meth:`apply`: every change, with its reason.
    kept_mask_ : ndarray of shape (n_samples,), bool
        After :meth:`apply`: False where a row was dropped.
    verdicts_ : DataFrame
        After :meth:`read_review`: what a person decided.

    See Also
    --------
    robustlabels.report.displays : The pictures, one class for each.
    NoiseAwareClassifier : Acts on flagged rows without a person.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import ELRClassifier, LabelReport
    >>> from robustlabels.noise import SymmetricNoise
    >>> digits = load_digits()
    >>> y = SymmetricNoise(0.2, random_state=0).flip(digits.target)
    >>> clf = ELRClassifier(max_epochs=10, random_state=0).fit(digits.data, y)
    >>> report = LabelReport.from_estimator(clf, digits.images, y)  # shows the images of the rows of digits.data
    >>> list(report.to_frame(5).columns)
    ['row', 'given', 'suggested', 'noise_score', 'confidence', 'flagged']
    >>> y_fixed = report.apply(y, relabel_above=0.9)
    >>> bool((y_fixed == digits.target).mean() > 0.95)
    True
    >>> bool((report.revert(y_fixed) == y).all())
    True
    """

    def __init__(
        self,
        beliefs: Beliefs,
        X: Any = None,
        *,
        texts: Any = None,
        names: Sequence[Any] | None = None,
        y_true: ArrayLike | None = None,
        channels: str = "auto",
        feature_names: Any = None,
        row_numbers: ArrayLike | None = None,
    ) -> None:
        self.beliefs = beliefs
        self._rows = ReportedRows.of(
            beliefs,
            X,
            texts=texts,
            names=names,
            y_true=y_true,
            channels=channels,
            feature_names=feature_names,
            row_numbers=row_numbers,
        )
        self._verdicts: dict[int, int] = {}  # position -> class index or DROP

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        texts: Any = None,
        names: Sequence[Any] | None = None,
        y_true: ArrayLike | None = None,
        channels: str | None = None,
        row_numbers: ArrayLike | None = None,
    ) -> Self:
        """Report on the rows an estimator was fitted on.

        Parameters
        ----------
        estimator : fitted classifier or detector
            Of this package; or a pipeline that ends in one, a search over one, a NoiseAwareClassifier.
        X : array-like of shape (n_samples, ...) or None
            What to show of the rows: the X of ``fit``; or images, paths of images, or texts of the same rows, where
            ``fit`` had features or embeddings of them.
        y : array-like of shape (n_samples,)
            The labels the estimator was fitted on.
        texts : array-like of str or None, default=None
            Shown instead of X.
        names : sequence of length n_samples or None, default=None
            What rows are called, beside their number; of images in files it is their path.
        y_true : array-like of shape (n_samples,) or None, default=None
            The true labels, where they are known: adds how well wrong ones were found.
        channels : {"auto", "first", "last"} or None, default=None
            Where arrays of images keep their channels; None is the estimator's own parameter.
        row_numbers : array-like of int, shape (n_samples,), or None, default=None
            The number of each row in a data set that X is a part of; lists and reviews use it. None counts from 0.

        Returns
        -------
        report : LabelReport
        """
        beliefs = Beliefs.of(estimator, y)
        feature_names = getattr(estimator, "feature_names_in_", None)
        if feature_names is not None and getattr(X, "shape", ())[1:] != (len(feature_names),):
            feature_names = None  # X is not what was fitted, but shows the same rows
        if channels is None:
            channels = getattr(estimator, "channels", "auto")
        return cls(
            beliefs,
            X,
            texts=texts,
            names=names,
            y_true=y_true,
            channels=channels,
            feature_names=feature_names,
            row_numbers=row_numbers,
        )

    # --- the list

    def to_frame(self, n: int | None = None) -> Any:
        """The rows as a table, most suspicious first.

        Parameters
        ----------
        n : int or None, default=None
            How many; None is all.

        Returns
        -------
        DataFrame
            With columns ``row`` (its number), ``path`` or ``name`` if there are any, ``given``, ``suggested``,
            ``noise_score``, ``confidence`` (probability of the suggested label), ``flagged``, and ``true`` where the
            truth is known.
        """
        b = self.beliefs
        rows = b.ranking(n)
        columns: dict[str, Any] = {"row": self._rows.numbers[rows]}
        if self._rows.key:
            columns[self._rows.key] = [self._rows.name(row) for row in rows]
        columns |= {"given": b.classes[b.given[rows]], "suggested": b.classes[b.suggested[rows]]}
        columns |= {"noise_score": b.noise_scores[rows], "confidence": b.confidence[rows], "flagged": b.flagged[rows]}
        if self._rows.true is not None:
            columns["true"] = b.classes[self._rows.true[rows]]
        return report_extra("pandas").DataFrame(columns)

    def __str__(self) -> str:
        b = self.beliefs
        lines = [
            f"rows             {len(b):,} in {len(b.classes)} classes",
            f"estimated noise  {self._rows.noise_rate()}",
            f"flagged          {b.flagged.sum():,} rows",
        ]
        pairs = b.confusions(5)
        if pairs:
            lines.append("top confusions   given -> suggested")
            lines += [f"{count:15,}  {b.classes[given]} -> {b.classes[suggested]}" for given, suggested, count in pairs]
        return "\n".join(lines)

    def __repr__(self) -> str:
        b = self.beliefs
        return (
            f"<LabelReport: {len(b):,} rows in {len(b.classes)} classes, {b.flagged.sum():,} flagged by {b.method}, "
            f"estimated noise {b.noise_rate:.1%}>"
        )

    # --- pictures

    def plot_gallery(self, n: int = 24, *, n_columns: int = 6, ax: Any = None) -> displays.GalleryDisplay:
        """Draw the most suspicious rows.

        Parameters
        ----------
        n : int, default=24
            How many rows.
        n_columns : int, default=6
            How many beside each other.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : :class:`~robustlabels.report.displays.GalleryDisplay`
            The picture and its data.
        """
        return displays.GalleryDisplay.of_evidence(self.beliefs, self._rows.evidence, n=n, n_columns=n_columns).plot(ax)

    def plot_class_noise(self, *, ax: Any = None) -> displays.ClassNoiseDisplay:
        """Draw the share of flagged labels in each class.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : :class:`~robustlabels.report.displays.ClassNoiseDisplay`
            The picture and its data.
        """
        return displays.ClassNoiseDisplay.of(self.beliefs).plot(ax)

    def plot_transition_matrix(self, *, ax: Any = None) -> displays.TransitionMatrixDisplay:
        """Draw how often each class is given each label.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : :class:`~robustlabels.report.displays.TransitionMatrixDisplay`
            The picture and its data.
        """
        return displays.TransitionMatrixDisplay.of(self.beliefs).plot(ax)

    def plot_score_histogram(self, *, ax: Any = None) -> displays.ScoreHistogramDisplay:
        """Draw the distribution of the noise scores.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : :class:`~robustlabels.report.displays.ScoreHistogramDisplay`
            The picture and its data.
        """
        return displays.ScoreHistogramDisplay.of(self.beliefs).plot(ax)

    def plot_learning_curves(self, *, ax: Any = None) -> displays.LearningCurvesDisplay:
        """Draw how the labels were learned over the epochs.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : :class:`~robustlabels.report.displays.LearningCurvesDisplay`
            The picture and its data.
        """
        return displays.LearningCurvesDisplay.of(self.beliefs).plot(ax)

    def plot_dataset_map(self, *, ax: Any = None) -> displays.DatasetMapDisplay:
        """Draw the confidence of each label against its variability.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : :class:`~robustlabels.report.displays.DatasetMapDisplay`
            The picture and its data.
        """
        return displays.DatasetMapDisplay.of(self.beliefs).plot(ax)

    def plot_detection_curve(self, kind: str = "precision_recall", *, ax: Any = None) -> displays.DetectionCurveDisplay:
        """Draw how well wrong labels were found, where the true ones are known.

        Parameters
        ----------
        kind : {"precision_recall", "roc"}, default="precision_recall"
            Which curve.
        ax : matplotlib Axes or None, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        display : :class:`~robustlabels.report.displays.DetectionCurveDisplay`
            The picture and its data.
        """
        b = self.beliefs
        wrong = self._rows.mislabeled()
        return displays.DetectionCurveDisplay.measured(wrong, b.noise_scores, b.flagged, kind).plot(ax)

    # --- the page

    def to_html(
        self, path: str | os.PathLike[str] | None = None, *, n: int = 60, n_listed: int = 200, title: str | None = None
    ) -> str | None:
        """Write one page that holds everything: no network, no script; it can be mailed, and read on a phone.

        Parameters
        ----------
        path : str, Path or None, default=None
            Written whole or not at all; None returns the page.
        n : int, default=60
            Rows in the gallery.
        n_listed : int, default=200
            Rows in the list below it.
        title : str or None, default=None
            Heading of the page; None is "Label report".

        Returns
        -------
        page : str or None
            The page, where no path was given.
        """
        page = self._render(n=n, n_listed=n_listed, title=title, document=True)
        if path is None:
            return page

        def write(partial: Path) -> None:
            partial.write_text(page, encoding="utf-8")

        replace_file(Path(path), write)
        return None

    def _repr_html_(self) -> str:
        return self._render(n=24, n_listed=50, title=None, document=False)

    def _render(self, **options: Any) -> str:
        from robustlabels import __version__  # not at the top: the package imports this module while it is imported

        return render_page(self._rows, version=__version__, **options)

    # --- decisions

    def to_review(
        self,
        path: str | os.PathLike[str],
        *,
        n: int | None = None,
        format: str = "auto",
        url_prefix: str | None = None,
    ) -> None:
        """Write a list for a person to go through; :meth:`read_review` reads it back.

        Parameters
        ----------
        path : str or Path
            A ``.csv``, a ``.json`` (a list of records), or a ``.label-studio.json`` (tasks to import there, see
            :meth:`label_studio_config`).
        n : int or None, default=None
            How many rows, from the most suspicious on; None is all, or for Label Studio those that are flagged.
        format : {"auto", "csv", "json", "label-studio"}, default="auto"
            "auto" reads it off the file's name.
        url_prefix : str or None, default=None
            For Label Studio, put before the path of an image, as in "/data/local-files/?d="; None puts a small copy of
            every image into the file.
        """
        format = format_of(path) if format == "auto" else format
        if n is None and format == "label-studio":
            n = int(self.beliefs.flagged.sum())

        def task(row: int) -> dict[str, Any]:
            if url_prefix is not None and self._rows.key == "path":
                return {"image": url_prefix + self._rows.name(row)}
            item = self._rows.evidence.item(row, 2 * SIDES[0])
            if item.picture is not None:
                return {"image": as_png_or_jpeg(item.picture)}
            if item.columns:
                words = {"text": item.text} if item.text else {}
                return {"columns": words | {column.name: column.value for column in item.columns}}
            return {"text": item.text or f"row {self._rows.numbers[row]}"}

        rows = self.beliefs.ranking(n)
        write_review(Path(path), format, self._rows.records(rows), map(task, rows.tolist()))

    def label_studio_config(self) -> str:
        """The labeling interface for the tasks of :meth:`to_review`, to be pasted into Label Studio.

        Returns
        -------
        xml : str
            The labeling configuration.
        """
        return label_studio_config(self._rows.evidence.kind, self.beliefs.classes.tolist())

    def read_review(self, path: str | os.PathLike[str]) -> Self:
        """Take over what a person decided; :meth:`apply` uses it.

        A row is decided by its column ``label``, the right label, or by its column ``verdict``: "confirm" (the
        suggested label is right), "reject" (the given one is) or "drop". Label Studio's own export, JSON or JSON-MIN,
        is read as it is. Several reviews may be read; of two verdicts on a row the later one holds.

        Parameters
        ----------
        path : str or Path
            The file that came back.

        Returns
        -------
        self
            With the verdicts of the file.
        """
        b = self.beliefs
        self._verdicts |= read_review(Path(path), b.classes, b.given, self._rows.numbers)
        return self

    @property
    def verdicts_(self) -> Any:
        """What a person decided: row, given, suggested and decided label (None: drop)."""
        rows = np.array(sorted(self._verdicts), dtype=np.int64)
        return self._change_frame(rows, np.array([self._verdicts[row] for row in rows.tolist()], dtype=np.int64))

    def apply(
        self, y: Any, *, relabel_above: float | None = None, drop_above: float | None = None, min_per_class: int = 1
    ) -> Any:
        """Repair the labels: a copy with verdicts and thresholds applied, ``y`` itself stays as it is.

        Rows that a person decided (:meth:`read_review`) get what was decided, whatever the thresholds. A class never
        disappears by a threshold: its least suspicious rows stay, with a warning.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            The given labels.
        relabel_above : float or None, default=None
            Give a flagged row its suggested label if that is more confident than this.
        drop_above : float or None, default=None
            Leave out rows with a higher noise score, unless they were relabeled.
        min_per_class : int, default=1
            Rows of every class that stay in any case.

        Returns
        -------
        y_fixed : ndarray or Series of shape (n_kept,)
            Without the dropped rows, if there are any: ``X[report.kept_mask_]`` goes with it.
        """
        for name, value in ("relabel_above", relabel_above), ("drop_above", drop_above):
            if value is not None:
                check_number(name, value, 0, 1)
        check_number("min_per_class", min_per_class, 0, integer=True)
        if hasattr(y, "iloc") and y.ndim == 2 and y.shape[1] == 1:
            y = y.iloc[:, 0]
        b = self.beliefs
        if len(y) != len(b) or (encode(y, b.classes, "y") != b.given).any():
            raise ValueError(
                "y is not what the report is about; give the y that fit was given. To build on other changes, fit "
                "again on the changed labels."
            )
        self._decided, restored = decide(
            b,
            self._verdicts,
            relabel_above=relabel_above,
            drop_above=drop_above,
            min_per_class=min_per_class,
        )
        self._source_y = y
        if len(restored):
            names = ", ".join(shorten(plain(label)) for label in b.classes[np.unique(b.given[restored])[:5]])
            warnings.warn(
                f"{len(restored)} row(s) stay as they are, or no {min_per_class} would be left of the classes {names}.",
                stacklevel=2,
            )
        return self._labels(b.classes[b.given].copy())

    def revert(self, y_fixed: Any = None, *, rows: ArrayLike | None = None) -> Any:
        """Take changes back: the given labels return, and dropped rows too.

        Parameters
        ----------
        y_fixed : array-like of shape (n_kept,) or None, default=None
            What :meth:`apply` returned, perhaps changed further by hand: such changes stay. None starts from what
            apply returned.
        rows : array-like of int or None, default=None
            Only these rows, by their number in ``decisions_``; None is all.

        Returns
        -------
        y : ndarray or Series of shape (n_kept,)
            The labels as they were.
        """
        self._check_applied()
        b = self.beliefs
        unknown = np.setdiff1d(self._rows.numbers[:0] if rows is None else rows, self._rows.numbers)
        if unknown.size:
            raise ValueError(f"there is no row {unknown[0]} in the report; rows are called as in decisions_.")
        kept = self.kept_mask_
        labels = b.classes[b.given].copy()
        decided = np.flatnonzero(kept)
        labels[decided] = b.classes[self._decided[decided]]
        if y_fixed is not None:
            values = np.asarray(y_fixed)
            if len(values) != len(decided):
                raise ValueError(f"y_fixed must have the {len(decided):,} labels that apply kept, got {len(values):,}.")
            labels[decided] = values
        back = np.arange(len(b)) if rows is None else np.flatnonzero(np.isin(self._rows.numbers, rows))
        back = back[self._decided[back] != b.given[back]]
        self._decided[back] = b.given[back]
        labels[back] = b.classes[b.given[back]]
        return self._contain(labels[self.kept_mask_])

    def _labels(self, labels: NDArray[Any]) -> Any:
        kept = np.flatnonzero(self.kept_mask_)
        labels[kept] = self.beliefs.classes[self._decided[kept]]
        return self._contain(labels[kept])

    def _contain(self, labels: NDArray[Any]) -> Any:
        """Kept labels in the container that ``y`` came in."""
        y = self._source_y
        if hasattr(y, "iloc"):
            return type(y)(labels, index=y.index[self.kept_mask_], name=y.name, dtype=y.dtype)
        return labels.astype(np.asarray(y).dtype, copy=False)

    def _check_applied(self) -> None:
        if not hasattr(self, "_decided"):
            raise AttributeError("nothing is decided yet; call apply(y, ...) first.")

    @property
    def kept_mask_(self) -> NDArray[np.bool_]:
        """True for the rows that :meth:`apply` kept."""
        self._check_applied()
        return self._decided != DROP

    @property
    def decisions_(self) -> Any:
        """Every change that :meth:`apply` made: row, given and decided label (None: dropped), why and by whom."""
        self._check_applied()
        rows = np.flatnonzero(self._decided != self.beliefs.given)
        return self._change_frame(rows, self._decided[rows])

    def _change_frame(self, rows: Ints, decided: Ints) -> Any:
        b = self.beliefs
        labels = np.empty(len(rows), dtype=object)
        labels[:] = [None if label == DROP else b.classes[label] for label in decided]
        columns: dict[str, Any] = {"row": self._rows.numbers[rows]}
        if self._rows.key:
            columns[self._rows.key] = [self._rows.name(row) for row in rows]
        pandas = report_extra("pandas")
        columns |= {"given": b.classes[b.given[rows]], "suggested": b.classes[b.suggested[rows]]}
        columns["decided"] = pandas.Series(labels, dtype=object)  # None stays None
        columns["source"] = ["review" if row in self._verdicts else "threshold" for row in rows.tolist()]
        columns |= {"noise_score": b.noise_scores[rows], "confidence": b.confidence[rows]}
        return pandas.DataFrame(columns)
