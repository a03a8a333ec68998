"""One object, and one file, that shows which labels look wrong, why, and what was decided about them.

:class:`LabelReport` is made from a fitted classifier or detector; nothing is fitted again. It ranks, draws, writes a
page that opens anywhere, and turns thresholds and a person's verdicts into repaired labels, every change of which is
on record and can be taken back.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustlabels.metrics import detection_report
from robustlabels.report import displays
from robustlabels.report.displays import percent
from robustlabels.report.evidence import (
    Column,
    Evidence,
    Item,
    as_png_or_jpeg,
    data_uri,
    find_evidence,
    plain,
    printable,
    report_extra,
    shorten,
)
from robustlabels.report.review import DROP, decide, format_of, label_studio_config, read_review, write_review
from robustlabels.training.beliefs import Beliefs, Ints, encode
from robustlabels.training.files import replace_file
from robustlabels.training.parameters import check_number

__all__ = ["LabelReport"]

PAGE_BYTES = 9_500_000
"""A page that takes more shows fewer rows."""

PICTURE_BYTES = 6_000_000
"""Pictures that take more together are made smaller."""

SIDES = (192, 128, 96, 64)
"""Longer sides of thumbnails, in the order they are tried."""

MOST_CARDS = 5000
MOST_ROWS = 2000
FIRST_IMAGES, FIRST_OTHERS = 30, 12
"""Rows of the gallery in view at once, the others on a click."""

OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
)
"""Fonts for what matplotlib's own lacks, where they are installed."""

FEW = 12
"""Rows that are shown where fewer are flagged, to see where the right labels begin."""


class LabelReport:
    """Report on the labels that an estimator was fitted on: a ranking, pictures, and decisions.

    Use :meth:`from_estimator` to make one. A notebook displays it as a page.

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
        self._evidence = find_evidence(X, beliefs, texts=texts, channels=channels, feature_names=feature_names)
        self._key, self._names = _name_rows(self._evidence, names, len(beliefs))
        self._true = None if y_true is None else encode(y_true, beliefs.classes, "y_true")
        if self._true is not None and len(self._true) != len(beliefs):
            raise ValueError(f"y_true has {len(self._true):,} labels, but y has {len(beliefs):,}.")
        self._numbers = np.arange(len(beliefs)) if row_numbers is None else np.asarray(row_numbers, dtype=np.int64)
        if self._numbers.shape != (len(beliefs),) or len(np.unique(self._numbers)) < len(beliefs):
            raise ValueError(f"row_numbers must be {len(beliefs):,} different numbers, one for each label.")
        self._verdicts: dict[int, int] = {}

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
        columns: dict[str, Any] = {"row": self._numbers[rows]}
        if self._key:
            columns[self._key] = [self._name(row) for row in rows]
        columns |= {"given": b.classes[b.given[rows]], "suggested": b.classes[b.suggested[rows]]}
        columns |= {"noise_score": b.noise_scores[rows], "confidence": b.confidence[rows], "flagged": b.flagged[rows]}
        if self._true is not None:
            columns["true"] = b.classes[self._true[rows]]
        return report_extra("pandas").DataFrame(columns)

    def _records(self, rows: Ints) -> Iterator[dict[str, Any]]:
        """The same as plain Python values, row by row."""
        b = self.beliefs
        labels = b.classes.tolist()
        for row in rows.tolist():
            record: dict[str, Any] = {"row": int(self._numbers[row])}
            if self._key:
                record[self._key] = self._name(row)
            yield record | {
                "given": labels[b.given[row]],
                "suggested": labels[b.suggested[row]],
                "noise_score": float(b.noise_scores[row]),
                "confidence": float(b.confidence[row]),
                "flagged": bool(b.flagged[row]),
            }

    def _name(self, row: int) -> str:
        return printable(self._names[row])

    def __str__(self) -> str:
        b = self.beliefs
        lines = [
            f"rows             {len(b):,} in {len(b.classes)} classes",
            f"estimated noise  {self._noise()}",
            f"flagged          {b.flagged.sum():,} rows",
        ]
        pairs = b.confusions(5)
        if pairs:
            lines.append("top confusions   given -> suggested")
            lines += [f"{count:15,}  {b.classes[given]} -> {b.classes[suggested]}" for given, suggested, count in pairs]
        return "\n".join(lines)

    def _noise(self) -> str:
        rate, interval = self.beliefs.noise_rate, self.beliefs.noise_rate_interval
        return f"{rate:.1%}" if interval is None else f"{rate:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"

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
        return displays.GalleryDisplay.of_evidence(self.beliefs, self._evidence, n=n, n_columns=n_columns).plot(ax)

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
        return self._detection(kind).plot(ax)

    def _detection(self, kind: str) -> displays.DetectionCurveDisplay:
        if self._true is None:
            raise ValueError("how well wrong labels were found takes the true ones: from_estimator(..., y_true=...).")
        b = self.beliefs
        return displays.DetectionCurveDisplay.measured(self._true != b.given, b.noise_scores, b.flagged, kind)

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

    def _render(self, *, n: int, n_listed: int, title: str | None, document: bool) -> str:
        jinja2 = report_extra("jinja2")
        source = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
        environment = jinja2.Environment(
            autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        template = environment.from_string(source)
        charts = self._charts()
        while True:
            page = template.render(**self._context(n, n_listed, title), charts=charts, document=document)
            if len(page.encode()) <= PAGE_BYTES or n == 0:
                return page
            n, n_listed = n // 2, n_listed // 2

    def _context(self, n: int, n_listed: int, title: str | None) -> dict[str, Any]:
        """What the page says, but for its charts."""
        from robustlabels import __version__

        b = self.beliefs
        cards = self._cards(min(n, MOST_CARDS))
        images = any(card["uri"] for card in cards)
        return {
            "title": title or "Label report",
            "headline": self._headline(),
            "tiles": self._tiles(),
            "images": images,
            "cards": cards,
            "first": FIRST_IMAGES if images else FIRST_OTHERS,
            "suspects": self._list(min(n_listed, MOST_ROWS)),
            "n": len(b),
            "method": b.method,
            "rule": "" if b.threshold is None else f", where the score is above {b.threshold:.3f}",
            "version": __version__,
        }

    def _headline(self) -> str:
        b = self.beliefs
        if not b.flagged.any():
            return f"None of the {len(b):,} labels looks wrong to {b.method}."
        text = (
            f"{b.flagged.sum():,} of {len(b):,} labels ({percent(float(b.flagged.mean()))}) look wrong to {b.method}."
        )
        pairs = b.confusions(1)
        if pairs:
            given, suggested, count = pairs[0]
            names = [shorten(plain(b.classes[label])) for label in (given, suggested)]
            text += f" Most often, {count:,} times, what is given as “{names[0]}” is taken for “{names[1]}”."
        return text

    def _tiles(self) -> list[tuple[str, str]]:
        b = self.beliefs
        tiles = [
            ("rows", f"{len(b):,}"),
            ("classes", f"{len(b.classes):,}"),
            ("flagged", f"{b.flagged.sum():,} ({percent(float(b.flagged.mean()))})"),
            ("estimated noise", self._noise()),
        ]
        wrong = None if self._true is None else self._true != b.given
        if wrong is not None and wrong.any() and not wrong.all():
            found = detection_report(b.noise_scores, wrong, noise_mask=b.flagged)
            tiles += [
                ("truly wrong", f"{wrong.sum():,} ({percent(found.true_rate)})"),
                ("precision of the flags", percent(found.precision or 0.0)),
                ("recall of the flags", percent(found.recall or 0.0)),
            ]
        return tiles

    def _cards(self, n: int) -> list[dict[str, Any]]:
        """What is shown of the first rows; pictures as large as fit into the page."""
        b = self.beliefs
        rows = b.ranking(min(n, max(int(b.flagged.sum()), FEW)))
        items, uris = self._pictures(rows)
        cards = []
        for row, item, uri in zip(rows.tolist(), items, uris, strict=True):
            given, suggested = (shorten(plain(b.classes[labels[row]])) for labels in (b.given, b.suggested))
            number = f"row {self._numbers[row]}"
            name = plain(self._name(row)) if self._key else ""
            picture = item.picture
            cards.append(
                {
                    "uri": uri,
                    "alt": f"image of {number}" + (f", {shorten(name, 100)}" if self._key else ""),
                    "width": 0 if picture is None else picture.shape[1],
                    "height": 0 if picture is None else picture.shape[0],
                    "small": picture is not None and max(picture.shape[:2]) <= 48,
                    "text": item.text,
                    "columns": [_short(column) for column in item.columns],
                    "given": given,
                    "suggested": suggested,
                    "changed": b.given[row] != b.suggested[row],
                    "score": f"{b.noise_scores[row]:.3f}",
                    "confidence": percent(float(b.confidence[row])),
                    "flagged": bool(b.flagged[row]),
                    "truth": self._truth(row),
                    "number": number,
                    "name": shorten(name, 80),
                    "full_name": shorten(name, 400),
                }
            )
        return cards

    def _truth(self, row: int) -> str:
        if self._true is None:
            return ""
        b, true = self.beliefs, self._true[row]
        if true == b.given[row]:
            return "✗ the given label is right"
        return f"✓ {'' if true == b.suggested[row] else 'wrong, but '}it is {shorten(plain(b.classes[true]))}"

    def _pictures(self, rows: Ints) -> tuple[list[Item], list[str]]:
        """Rows as they are shown, pictures among them as large as fit into a page."""
        for side in SIDES:
            items = [self._evidence.item(row, side) for row in rows.tolist()]
            uris = ["" if item.picture is None else as_png_or_jpeg(item.picture) for item in items]
            if sum(map(len, uris)) <= PICTURE_BYTES:
                break
        return items, uris

    def _list(self, n: int) -> dict[str, Any]:
        key = [self._key] if self._key else []
        rows = []
        for record in self._records(self.beliefs.ranking(n)):
            cells = [shorten(plain(record[name]), 120) for name in (*key, "given", "suggested")]
            rows.append(
                [
                    record["row"],
                    *cells,
                    f"{record['noise_score']:.4f}",
                    f"{record['confidence']:.4f}",
                    "yes" if record["flagged"] else "",
                ]
            )
        return {"header": ["row", *key, "given", "suggested", "noise score", "confidence", "flagged"], "rows": rows}

    def _charts(self) -> list[dict[str, Any]]:
        """Every picture that can be drawn, with its numbers."""
        b = self.beliefs
        of: list[Any] = [displays.ClassNoiseDisplay, displays.TransitionMatrixDisplay, displays.ScoreHistogramDisplay]
        if b.history is not None:
            of += [displays.LearningCurvesDisplay, displays.DatasetMapDisplay]
        drawn: list[Any] = [display.of(b) for display in of]
        if self._true is not None and 0 < (self._true != b.given).sum() < len(b):
            drawn += [self._detection("precision_recall"), self._detection("roc")]
        tables = {0: self._class_table(), 1: self._confusion_table()}
        return [{**_chart(display), "table": tables.get(i)} for i, display in enumerate(drawn)]

    def _class_table(self) -> dict[str, Any]:
        display = displays.ClassNoiseDisplay.of(self.beliefs)
        rows = [
            [
                shorten(plain(display.classes[i])),
                f"{display.counts[i]:,}",
                f"{display.flagged[i]:,}",
                percent(display.shares[i]),
            ]
            for i in display.order[:200]
        ]
        return {"header": ["label", "rows", "flagged", "share"], "rows": rows}

    def _confusion_table(self) -> dict[str, Any] | None:
        names = [shorten(plain(label)) for label in self.beliefs.classes]
        rows = [[names[given], names[suggested], f"{n:,}"] for given, suggested, n in self.beliefs.confusions(50)]
        return {"header": ["given", "suggested", "flagged rows"], "rows": rows} if rows else None

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
            if url_prefix is not None and self._key == "path":
                return {"image": url_prefix + self._name(row)}
            item = self._evidence.item(row, 2 * SIDES[0])
            if item.picture is not None:
                return {"image": as_png_or_jpeg(item.picture)}
            if item.columns:
                words = {"text": item.text} if item.text else {}
                return {"columns": words | {column.name: column.value for column in item.columns}}
            return {"text": item.text or f"row {self._numbers[row]}"}

        rows = self.beliefs.ranking(n)
        write_review(Path(path), format, self._records(rows), map(task, rows.tolist()))

    def label_studio_config(self) -> str:
        """The labeling interface for the tasks of :meth:`to_review`, to be pasted into Label Studio.

        Returns
        -------
        xml : str
            The labeling configuration.
        """
        return label_studio_config(self._evidence.kind, self.beliefs.classes.tolist())

    def read_review(self, path: str | os.PathLike[str]) -> Self:
        """Take over what a person decided; :meth:`apply` uses it.

        A row is decided by its column ``label``, the right label, or by its column ``verdict``: "confirm" (the
        suggested label is right), "reject" (the given one is) or "drop". Label Studio's own export, JSON or JSON-MIN,
        is read as it is. Several reviews may be read; of two verdicts on a row the later one holds.

        Parameters
        ----------
        path : str or Path
            The file that came back.
            The file that came back.

        Returns
        -------
        self
            The fitted estimator.
        """
        b = self.beliefs
        self._verdicts |= read_review(Path(path), b.classes, b.given, self._numbers)
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
        unknown = np.setdiff1d(self._numbers[:0] if rows is None else rows, self._numbers)
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
        back = np.arange(len(b)) if rows is None else np.flatnonzero(np.isin(self._numbers, rows))
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
        columns: dict[str, Any] = {"row": self._numbers[rows]}
        if self._key:
            columns[self._key] = [self._name(row) for row in rows]
        pandas = report_extra("pandas")
        columns |= {"given": b.classes[b.given[rows]], "suggested": b.classes[b.suggested[rows]]}
        columns["decided"] = pandas.Series(labels, dtype=object)  # None stays None
        columns["source"] = ["review" if row in self._verdicts else "threshold" for row in rows.tolist()]
        columns |= {"noise_score": b.noise_scores[rows], "confidence": b.confidence[rows]}
        return pandas.DataFrame(columns)


# --- helpers ----------------------------------------------------------------------------------------------------------


def _name_rows(evidence: Evidence, names: Any, n: int) -> tuple[str, Any]:
    """What kind of name rows have, and the names; "" where they have none."""
    if names is not None:
        if len(names) != n:
            raise ValueError(f"names has {len(names):,} entries, but y has {n:,} labels.")
        return "name", names.to_numpy() if hasattr(names, "iloc") else names
    paths = getattr(evidence, "paths", None)
    return ("", None) if paths is None else ("path", paths)


def _short(column: Column) -> Column:
    name, value, given, suggested, distance = column
    return Column(shorten(name, 40), shorten(value, 40), shorten(given, 24), shorten(suggested, 24), distance)


def _chart(display: Any) -> dict[str, Any]:
    """A display as a picture of its own, its finding as the heading over it."""
    matplotlib = report_extra("matplotlib")
    figures = report_extra("matplotlib.figure")
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    installed = {font.name for font in report_extra("matplotlib.font_manager").fontManager.ttflist}
    defaults["font.family"] = ["DejaVu Sans", *(font for font in OTHER_SCRIPTS if font in installed)]
    stream = io.BytesIO()
    with matplotlib.rc_context(defaults), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the page says in words what a font lacks
        figure = figures.Figure(figsize=display._size, layout="constrained")
        display.plot(figure.subplots(), title=False)
        figure.savefig(stream, format="png", dpi=200)
    image = report_extra("PIL.Image").open(stream).convert("RGB").quantize(128)
    picture = io.BytesIO()
    image.save(picture, "png", optimize=True)
    return {
        "heading": display.finding,
        "alt": display.alt,
        "uri": data_uri("png", picture.getvalue()),
        "width": image.width // 2,
        "height": image.height // 2,
    }
