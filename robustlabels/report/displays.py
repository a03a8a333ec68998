"""Pictures of what is wrong with labels, as scikit-learn draws its own: ``SomeDisplay.from_estimator(fitted, X, y)``.

Every display keeps the numbers it draws, a title that says what they show (``finding``) and a text for those who cannot
see it (``alt``). They are drawn with matplotlib, imported when the first one is, in colors that color-blind people
tell apart; numbers, marks and labels say everything a color says.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from robustlabels.maths.functional import TwoComponentMixture, fit_two_component_mixture
from robustlabels.metrics import detection_report
from robustlabels.report.evidence import Evidence, Item, find_evidence, plain, report_extra, shorten
from robustlabels.training.beliefs import Beliefs, encode, ranking

__all__ = [
    "ClassNoiseDisplay",
    "DatasetMapDisplay",
    "DetectionCurveDisplay",
    "GalleryDisplay",
    "LearningCurvesDisplay",
    "ScoreHistogramDisplay",
    "TransitionMatrixDisplay",
]

KEPT, FLAGGED, DARK, PALE = "#0072b2", "#d55e00", "#333333", "#e8e8e8"
"""Blue, vermilion (Okabe and Ito), and two grays."""

CHARACTERS_PER_INCH = 11
CURVE_POINTS = 1000
N_BINS = 50
MOST_CLASSES = 20
MOST_CELLS = 12
NAME_IN_MATRIX = 16


def percent(share: float) -> str:
    """A share in as many digits as it deserves.

    Examples
    --------
    >>> from robustlabels.report.displays import percent
    >>> percent(0.4), percent(0.0312), percent(0.9996), percent(0.0)
    ('40%', '3.1%', '99.9%', '0%')
    """
    if share in (0, 1):
        return f"{share:.0%}"
    if 0.0995 <= share < 0.995:
        return f"{share:.0%}"
    return f"{min(max(share, 0.001), 0.999):.1%}"


def label_of(value: Any, length: int = 24) -> str:
    """A class's name as matplotlib takes it: one line, not too long, dollars no formula."""
    return shorten(plain(value), length).replace("$", r"\$")


class _Display:
    """What displays have in common."""

    _size = (4.6, 3.3)

    ax_: Any
    figure_: Any

    @property
    def finding(self) -> str:
        """What the picture shows, in one sentence."""
        return self._finding()

    @property
    def alt(self) -> str:
        """The picture in words."""
        return self._alt()

    def _finding(self) -> str:
        raise NotImplementedError

    def _alt(self) -> str:
        raise NotImplementedError

    def plot(self, ax: Any = None, *, title: bool = True) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            None makes a new figure.
        title : bool, default=True
            Put the finding above it.

        Returns
        -------
        self
            With ``ax_`` and ``figure_``.
        """
        own = ax is None
        if own:
            pyplot = report_extra("matplotlib.pyplot")
            _, ax = pyplot.subplots(figsize=self._size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax)
        if title:
            self.figure_.draw_without_rendering()  # places the axes
            room = self.figure_.bbox.x1 - ax.bbox.x0 if own else ax.bbox.width
            columns = max(20, int(room / self.figure_.dpi * CHARACTERS_PER_INCH))
            ax.set_title("\n".join(textwrap.wrap(self.finding.replace("$", r"\$"), columns)), loc="left", fontsize=11)
        return self

    def _draw(self, ax: Any) -> None:
        raise NotImplementedError


class _BeliefsDisplay(_Display):
    """What the displays have in common that need no more than what is believed of every row."""

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, ax: Any = None) -> Self:
        """Draw what a fitted estimator says of the rows it was fitted on.

        Parameters
        ----------
        estimator : fitted classifier or detector
            Of this package, or a pipeline, search or classifier with one.
        X : array-like of shape (n_samples, ...)
            Not looked at.
        y : array-like of shape (n_samples,)
            The labels it was fitted on.
        ax : matplotlib Axes or None, default=None
            None makes a new figure.

        Returns
        -------
        display
        """
        return cls.of(Beliefs.of(estimator, y)).plot(ax)

    @classmethod
    def of(cls, beliefs: Beliefs) -> Self:
        """Take the numbers, without drawing them.

        Parameters
        ----------
        beliefs : :class:`~robustlabels.training.beliefs.Beliefs`

        Returns
        -------
        display
        """
        raise NotImplementedError


def _bare(ax: Any, *, grid: str | None = None) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=PALE, linewidth=0.8)


def _as_percent(axis: Any) -> None:
    axis.set_major_formatter(lambda share, _: f"{share:.0%}")


# --- gallery ----------------------------------------------------------------------------------------------------------


class GalleryDisplay(_Display):
    """The most suspicious rows, each with its given and its suggested label.

    Parameters
    ----------
    items : sequence of :class:`~robustlabels.report.evidence.Item`
        What is shown of each row, most suspicious first.
    given, suggested : sequence of str
        Their labels.
    noise_scores : array-like of shape (n_items,)
    n_samples : int
        Rows they were chosen from.
    n_columns : int, default=6

    Attributes
    ----------
    ax_ : matplotlib Axes
    axes_ : ndarray of matplotlib Axes
        One for each row shown, inside ``ax_``.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels.report.displays import GalleryDisplay
    >>> digits = load_digits()
    >>> suggested, scores = digits.target.copy(), np.zeros(1797)
    >>> suggested[9], scores[9] = 5, 0.97
    >>> display = GalleryDisplay.from_predictions(
    ...     digits.images, digits.target, noise_scores=scores, suggested_labels=suggested, n=6
    ... )
    >>> display.finding
    'The 6 most suspicious of 1,797 labels'
    """

    def __init__(
        self,
        items: Sequence[Item],
        given: Sequence[str],
        suggested: Sequence[str],
        noise_scores: ArrayLike,
        *,
        n_samples: int,
        n_columns: int = 6,
    ) -> None:
        self.items, self.given, self.suggested = list(items), list(given), list(suggested)
        self.noise_scores = np.asarray(noise_scores)
        self.n_samples = n_samples
        pictures = any(item.picture is not None for item in self.items)
        self.n_columns = n_columns if pictures else min(n_columns, 2)
        lines = -(-len(self.items) // self.n_columns)
        inside = 9.0 / self.n_columns * 0.92 if pictures else 1.05  # inches
        self._share = inside / (inside + 0.35)  # of a row's height, the rest is its labels
        self._size = (9.0, max(1, lines) * (inside + 0.35) + 0.4)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, n: int = 24, texts: Any = None, n_columns: int = 6, ax: Any = None
    ) -> Self:
        """Draw the ``n`` most suspicious rows of a fitted estimator.

        Parameters
        ----------
        estimator : fitted classifier or detector
        X : array-like of shape (n_samples, ...)
            What to show of the rows: those of ``fit``, or images or texts of them.
        y : array-like of shape (n_samples,)
            The labels it was fitted on.
        n : int, default=24
        texts : array-like of str or None, default=None
            Shown instead of X.
        n_columns : int, default=6
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        beliefs = Beliefs.of(estimator, y)
        channels = getattr(estimator, "channels", "auto")
        evidence = find_evidence(X, beliefs, texts=texts, channels=channels)
        return cls.of_evidence(beliefs, evidence, n=n, n_columns=n_columns).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        y: ArrayLike,
        *,
        noise_scores: ArrayLike,
        suggested_labels: ArrayLike,
        n: int = 24,
        texts: Any = None,
        n_columns: int = 6,
        ax: Any = None,
    ) -> Self:
        """Draw the ``n`` rows with the highest scores.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)
        y, suggested_labels : array-like of shape (n_samples,)
        noise_scores : array-like of shape (n_samples,)
        n : int, default=24
        texts : array-like of str or None, default=None
        n_columns : int, default=6
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        given, suggested = np.asarray(y), np.asarray(suggested_labels)
        classes = np.unique(np.concatenate([given, suggested]))
        scores = np.asarray(noise_scores, dtype=np.float64)
        beliefs = Beliefs(
            classes=classes,
            given=encode(given, classes, "y"),
            suggested=encode(suggested, classes, "suggested_labels"),
            noise_scores=scores,
            confidence=scores,
            flagged=given != suggested,
            transition_matrix=np.eye(len(classes)),
            noise_rate=0.0,
        )
        evidence = find_evidence(X, beliefs, texts=texts)
        return cls.of_evidence(beliefs, evidence, n=n, n_columns=n_columns).plot(ax)

    @classmethod
    def of_evidence(cls, beliefs: Beliefs, evidence: Evidence, *, n: int, n_columns: int) -> Self:
        """Take the ``n`` most suspicious rows, without drawing them."""
        rows = beliefs.ranking(n)
        given, suggested = (beliefs.classes[labels[rows]] for labels in (beliefs.given, beliefs.suggested))
        return cls(
            [evidence.item(row, 128) for row in rows.tolist()],
            [plain(label) for label in given],
            [plain(label) for label in suggested],
            beliefs.noise_scores[rows],
            n_samples=len(beliefs),
            n_columns=n_columns,
        )

    def _finding(self) -> str:
        return f"The {len(self.items)} most suspicious of {self.n_samples:,} labels"

    def _alt(self) -> str:
        pairs = [f"{a} → {b}" if a != b else f"{a}, kept" for a, b in zip(self.given, self.suggested, strict=True)]
        return f"{self.finding}, given → suggested: {'; '.join(pairs)}."

    def _draw(self, ax: Any) -> None:
        ax.set_axis_off()
        lines = -(-len(self.items) // self.n_columns)
        self.axes_ = np.empty(len(self.items), dtype=object)
        for i, item in enumerate(self.items):
            line, column = divmod(i, self.n_columns)
            width, height = 1 / self.n_columns, 1 / lines
            inner = ax.inset_axes([column * width, 1 - (line + 1) * height, width * 0.92, height * self._share])
            self.axes_[i] = inner
            changed = self.given[i] != self.suggested[i]
            length = 12 if item.picture is not None else 24
            labels = [label_of(label, length) for label in (self.given[i], self.suggested[i])]
            text = f"{labels[0]} → {labels[1]}" if changed else f"{labels[0]}, kept"
            inner.set_title(text, fontsize=9.5, color=DARK, pad=3)
            inner.set_xticks([])
            inner.set_yticks([])
            if item.picture is not None:
                gray = {"cmap": "gray", "vmin": 0, "vmax": 255} if item.picture.ndim == 2 else {}
                inner.imshow(item.picture, interpolation="nearest" if max(item.picture.shape) < 64 else None, **gray)
                inner.spines[:].set_color(PALE)
            else:
                inner.spines[:].set_color(PALE)
                inner.text(0.02, 0.95, _in_lines(item), fontsize=8, va="top", transform=inner.transAxes, clip_on=True)


def _in_lines(item: Item, width: int = 58, lines: int = 6) -> str:
    """The contents of a row without a picture, as wrapped text."""
    parts = textwrap.wrap(item.text, width)
    parts += [
        shorten(f"{c.name}: {c.value}  (usual {c.given}, in suggested {c.suggested})", width) for c in item.columns
    ]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 2] + " …"]
    return "\n".join(parts).replace("$", r"\$")


# --- noise by class ---------------------------------------------------------------------------------------------------


class ClassNoiseDisplay(_BeliefsDisplay):
    """Share of flagged rows among those labeled with each class.

    Parameters
    ----------
    classes : sequence
        Names.
    counts, flagged : array-like of shape (n_classes,)
        Rows given each label, and how many of them are flagged.

    Attributes
    ----------
    shares : ndarray of shape (n_classes,)
        Flagged by given; 0 for a class without rows.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from robustlabels.report.displays import ClassNoiseDisplay
    >>> display = ClassNoiseDisplay(["cat", "dog"], counts=[100, 50], flagged=[2, 20])
    >>> display.finding
    '40% of the labels “dog” look wrong, 15% of all labels'
    """

    def __init__(self, classes: Sequence[Any], counts: ArrayLike, flagged: ArrayLike) -> None:
        self.classes = list(classes)
        self.counts, self.flagged = np.asarray(counts), np.asarray(flagged)
        self.shares = self.flagged / np.maximum(self.counts, 1)
        self._size = (4.6, 0.5 + 0.26 * min(len(self.classes), MOST_CLASSES + 1))

    @classmethod
    def from_predictions(cls, y: ArrayLike, noise_mask: ArrayLike, *, ax: Any = None) -> Self:
        """Draw the shares of a mask.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
        noise_mask : array-like of shape (n_samples,), bool
            True where a row is flagged.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        classes, given = np.unique(np.asarray(y), return_inverse=True)
        mask = np.asarray(noise_mask, dtype=bool)
        return cls(classes.tolist(), np.bincount(given), np.bincount(given[mask], minlength=len(classes))).plot(ax)

    @classmethod
    def of(cls, beliefs: Beliefs) -> Self:
        """Take the numbers, without drawing them."""
        k = len(beliefs.classes)
        flagged = np.bincount(beliefs.given[beliefs.flagged], minlength=k)
        return cls(beliefs.classes.tolist(), np.bincount(beliefs.given, minlength=k), flagged)

    @property
    def order(self) -> NDArray[np.int64]:
        """Classes from the most to the least noisy."""
        return np.argsort(-self.shares, kind="stable")

    def _finding(self) -> str:
        worst, overall = self.order[0], self.flagged.sum() / max(self.counts.sum(), 1)
        if not self.flagged.any():
            return "No label looks wrong in any class"
        name = shorten(plain(self.classes[worst]), 30)
        return f"{percent(self.shares[worst])} of the labels “{name}” look wrong, {percent(overall)} of all labels"

    def _alt(self) -> str:
        shown = [
            f"{plain(self.classes[i])} {percent(self.shares[i])} ({self.flagged[i]:,} of {self.counts[i]:,})"
            for i in self.order[:MOST_CLASSES]
        ]
        left = len(self.classes) - len(shown)
        return f"Bars, share of flagged labels by class: {', '.join(shown)}{f' and {left} more' if left else ''}."

    def _draw(self, ax: Any) -> None:
        shown = self.order[:MOST_CLASSES]
        places = np.arange(len(shown))
        ax.barh(places, self.shares[shown], color=FLAGGED, height=0.7)
        names = [label_of(self.classes[i], 20) for i in shown]
        if len(self.classes) > len(shown):
            names[-1] += f"\n({len(self.classes) - len(shown):,} classes more)"
        ax.set_yticks(places, names)
        ax.invert_yaxis()
        top = max(float(self.shares.max()), 1e-3)
        for place, i in zip(places, shown, strict=True):
            text = f"{percent(self.shares[i])} ({self.flagged[i]:,} of {self.counts[i]:,})"
            ax.text(self.shares[i] + 0.015 * top, place, text, va="center", fontsize=9, color=DARK)
        ax.set_xlim(0, 1.55 * top)
        ax.set_xticks([])
        ax.tick_params(axis="y", length=0)
        _bare(ax)
        ax.spines["bottom"].set_visible(False)


# --- transition matrix ------------------------------------------------------------------------------------------------


class TransitionMatrixDisplay(_BeliefsDisplay):
    """Heat map of how classes are mislabeled: rows the class that is believed, columns the label that is given.

    Colors are those of the errors, off the diagonal; right labels would outshine them. Of more than 12 classes, those
    with the largest errors are shown.

    Parameters
    ----------
    matrix : array-like of shape (n_classes, n_classes)
        Each row sums to one.
    classes : sequence of length n_classes
        Names.

    Attributes
    ----------
    shown : ndarray
        Numbers of the classes that are drawn.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from robustlabels.report.displays import TransitionMatrixDisplay
    >>> TransitionMatrixDisplay([[0.9, 0.1], [0.3, 0.7]], ["cat", "dog"]).finding
    '“dog” is labeled “cat” in 30% of its rows'
    """

    def __init__(self, matrix: ArrayLike, classes: Sequence[Any]) -> None:
        self.matrix = np.asarray(matrix, dtype=np.float64)
        self.classes = list(classes)
        k = len(self.classes)
        if self.matrix.shape != (k, k):
            raise ValueError(f"matrix must have shape ({k}, {k}) for {k} classes, got {self.matrix.shape}.")
        self.errors = np.where(np.eye(k, dtype=bool), 0.0, self.matrix)
        largest = np.maximum(self.errors.max(0), self.errors.max(1))
        self.shown = np.sort(ranking(largest, MOST_CELLS))
        cells = 0.31 * len(self.shown)
        longest = max(len(label_of(self.classes[i], NAME_IN_MATRIX)) for i in self.shown)
        self._size = (max(cells + 0.09 * longest + 0.7, 4.4), cells + 0.07 * longest + 1.1)

    @classmethod
    def from_predictions(cls, y_true: ArrayLike, y: ArrayLike, *, ax: Any = None) -> Self:
        """Draw the shares that were counted: rows ``y_true``, true or suggested labels, columns the given ones.

        Parameters
        ----------
        y_true, y : array-like of shape (n_samples,)
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        true, given = np.asarray(y_true), np.asarray(y)
        classes = np.unique(np.concatenate([true, given]))
        counts = np.zeros((len(classes), len(classes)))
        np.add.at(counts, (encode(true, classes, "y_true"), encode(given, classes, "y")), 1)
        return cls(counts / np.maximum(counts.sum(1, keepdims=True), 1), classes.tolist()).plot(ax)

    @classmethod
    def of(cls, beliefs: Beliefs) -> Self:
        """Take the numbers, without drawing them."""
        return cls(beliefs.transition_matrix, beliefs.classes.tolist())

    def _worst(self) -> tuple[int, int]:
        true, given = np.unravel_index(int(self.errors.argmax()), self.errors.shape)
        return int(true), int(given)

    def _finding(self) -> str:
        true, given = self._worst()
        if not self.errors.any():
            return "No class is taken for another"
        names = [shorten(plain(self.classes[i]), 30) for i in (true, given)]
        return f"“{names[0]}” is labeled “{names[1]}” in {percent(self.errors[true, given])} of its rows"

    def _alt(self) -> str:
        k = len(self.classes)
        cells = [divmod(int(cell), k) for cell in ranking(self.errors.ravel(), 8) if self.errors.flat[cell] > 0]
        errors = [
            f"{plain(self.classes[t])} labeled {plain(self.classes[g])} {percent(self.errors[t, g])}" for t, g in cells
        ]
        return f"Heat map of believed class against given label. Largest errors: {', '.join(errors) or 'none'}."

    def _draw(self, ax: Any) -> None:
        shown = self.shown
        errors = np.ma.masked_array(self.errors[np.ix_(shown, shown)], np.eye(len(shown), dtype=bool))
        top = max(float(self.errors.max()), 1e-9)
        colors = report_extra("matplotlib").colormaps["Blues"].with_extremes(bad=PALE)
        ax.imshow(errors, cmap=colors, vmin=0, vmax=top)
        for i, true in enumerate(shown):
            for j, given in enumerate(shown):
                value = self.matrix[true, given]
                text = "" if i != j and value < 0.005 else f"{100 * value:.0f}"
                light = i != j and value > 0.6 * top
                ax.text(j, i, text, ha="center", va="center", fontsize=9, color="white" if light else DARK)
        names = [label_of(self.classes[i], NAME_IN_MATRIX) for i in shown]
        short = max(map(len, names)) <= 3
        ax.set_xticks(
            range(len(shown)),
            names,
            rotation=0 if short else 45,
            ha="center" if short else "right",
            rotation_mode="anchor",
        )
        ax.set_yticks(range(len(shown)), names)
        ax.tick_params(length=0)
        left = len(self.classes) - len(shown)
        ax.set_xlabel("given label, % of the row" + (f" ({left:,} classes more)" if left else ""))
        ax.set_ylabel("believed class")
        ax.spines[:].set_visible(False)


# --- histogram of the scores ------------------------------------------------------------------------------------------


class ScoreHistogramDisplay(_BeliefsDisplay):
    """Histogram of the noise scores, with the two groups a mixture finds in them and the threshold.

    Parameters
    ----------
    edges : array-like of shape (n_bins + 1,)
    kept, flagged : array-like of shape (n_bins,)
        Rows in each bin.
    mixture : :class:`~robustlabels.maths.functional.TwoComponentMixture` or None, default=None
    threshold : float or None, default=None

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from robustlabels.report.displays import ScoreHistogramDisplay
    >>> scores = [0.02, 0.1, 0.06, 0.1, 0.9, 0.96]
    >>> display = ScoreHistogramDisplay.from_predictions(scores, threshold=0.5)
    >>> display.finding
    'Scores fall into two groups, around 0.07 and 0.93; 2 of 6 rows are flagged'
    """

    def __init__(
        self,
        edges: ArrayLike,
        kept: ArrayLike,
        flagged: ArrayLike,
        *,
        mixture: TwoComponentMixture | None = None,
        threshold: float | None = None,
    ) -> None:
        self.edges, self.kept, self.flagged = np.asarray(edges), np.asarray(kept), np.asarray(flagged)
        self.mixture, self.threshold = mixture, threshold

    @classmethod
    def from_predictions(
        cls,
        noise_scores: ArrayLike,
        noise_mask: ArrayLike | None = None,
        *,
        threshold: float | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw scores.

        Parameters
        ----------
        noise_scores : array-like of shape (n_samples,)
        noise_mask : array-like of shape (n_samples,), bool, or None, default=None
            Flagged rows; None takes those above the threshold.
        threshold : float or None, default=None
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        scores = np.asarray(noise_scores, dtype=np.float64)
        if noise_mask is None:
            noise_mask = scores > (np.inf if threshold is None else threshold)
        return cls._counted(scores, np.asarray(noise_mask, dtype=bool), threshold).plot(ax)

    @classmethod
    def of(cls, beliefs: Beliefs) -> Self:
        """Take the numbers, without drawing them."""
        return cls._counted(beliefs.noise_scores, beliefs.flagged, beliefs.threshold)

    @classmethod
    def _counted(cls, scores: NDArray[Any], flagged: NDArray[np.bool_], threshold: float | None) -> Self:
        low, high = min(float(scores.min()), 0.0), max(float(scores.max()), 1.0)
        edges = np.linspace(low, high, N_BINS + 1)
        counts = [np.histogram(scores[mask], edges)[0] for mask in (~flagged, flagged)]
        mixture = None
        if len(scores) > 1:
            mixture = fit_two_component_mixture(torch.as_tensor(np.ascontiguousarray(scores)), max_iter=100, tol=1e-4)
        return cls(edges, *counts, mixture=mixture, threshold=threshold)

    def _finding(self) -> str:
        n, flagged = int(self.kept.sum() + self.flagged.sum()), int(self.flagged.sum())
        rows = f"{flagged:,} of {n:,} rows are flagged"
        if not self._two_groups:
            return f"Scores form one group; {rows}"
        assert self.mixture is not None
        low, high = self.mixture.means
        return f"Scores fall into two groups, around {low:.2f} and {high:.2f}; {rows}"

    @property
    def _two_groups(self) -> bool:
        """Whether the means are further apart than the groups are wide."""
        if self.mixture is None:
            return False
        (low, high), (first, second) = self.mixture.means, self.mixture.variances
        return high - low > max(first, second) ** 0.5 and min(self.mixture.weights) > 0.001

    def _alt(self) -> str:
        cut = "" if self.threshold is None else f" The threshold is {self.threshold:.3f}."
        return f"Histogram of noise scores. {self.finding}.{cut}"

    def _draw(self, ax: Any) -> None:
        widths = np.diff(self.edges)
        style = {"align": "edge", "linewidth": 0}
        ax.bar(self.edges[:-1], self.kept, widths, color=KEPT, label="not flagged", **style)
        ax.bar(
            self.edges[:-1],
            self.flagged,
            widths,
            bottom=self.kept,
            color=FLAGGED,
            label="flagged",
            hatch="///",
            edgecolor="white",
            **style,
        )
        tallest = max(int((self.kept + self.flagged).max()), 1)
        straight = max(tallest / 100, 1)  # below it the axis is linear: one row is seen, none is nothing
        ax.set_yscale("symlog", linthresh=straight, linscale=0.5)
        ax.set_yticks([0, *(10**k for k in range(12) if straight <= 10**k <= 1.3 * tallest)])
        if self._two_groups:
            self._draw_mixture(ax, float(widths[0]))
        if self.threshold is not None:
            ax.axvline(
                self.threshold, color=DARK, linestyle="--", linewidth=1.4, label=f"threshold {self.threshold:.2f}"
            )
        ax.set_ylim(0, tallest * 8)  # room for the legend
        ax.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        ax.minorticks_off()
        ax.set(xlabel="noise score", ylabel="rows", xlim=(self.edges[0], self.edges[-1]))
        ax.legend(frameon=False, fontsize=9, loc="upper center", ncols=2)
        _bare(ax)

    def _draw_mixture(self, ax: Any, width: float) -> None:
        assert self.mixture is not None
        n = self.kept.sum() + self.flagged.sum()
        x = np.linspace(self.edges[0], self.edges[-1], 400)
        parts = zip(self.mixture.weights, self.mixture.means, self.mixture.variances, strict=True)
        for i, (weight, mean, variance) in enumerate(parts):
            density = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
            ax.plot(x, n * width * weight * density, color="black", linewidth=1.2, label="mixture" if i == 0 else None)


# --- what training saw ------------------------------------------------------------------------------------------------


class LearningCurvesDisplay(_BeliefsDisplay):
    """How training took to flagged and to unflagged rows: the probability of the given label over epochs.

    Parameters
    ----------
    kept, flagged : array-like of shape (n_epochs, 3)
        First quartile, mean and third quartile over the rows that are not flagged, and over those that are.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from robustlabels.report.displays import LearningCurvesDisplay
    >>> proba = [[0.5, 0.5, 0.4], [0.8, 0.9, 0.2]]  # (epochs, rows)
    >>> LearningCurvesDisplay.from_predictions(proba, [False, False, True]).finding
    'After 2 epochs the given label has a probability of 0.85 on rows not flagged, of 0.20 on flagged ones'
    """

    def __init__(self, kept: ArrayLike, flagged: ArrayLike) -> None:
        self.kept, self.flagged = np.asarray(kept), np.asarray(flagged)

    @classmethod
    def from_predictions(cls, proba_given: ArrayLike, noise_mask: ArrayLike, *, ax: Any = None) -> Self:
        """Draw a table of probabilities.

        Parameters
        ----------
        proba_given : array-like of shape (n_epochs, n_samples)
            Probability of each row's given label, NaN where a row was not seen in an epoch.
        noise_mask : array-like of shape (n_samples,), bool
            Flagged rows.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        return cls._counted(np.asarray(proba_given), np.asarray(noise_mask, dtype=bool)).plot(ax)

    @classmethod
    def of(cls, beliefs: Beliefs) -> Self:
        """Take the numbers, without drawing them."""
        return cls._counted(_history(beliefs, cls), beliefs.flagged)

    @classmethod
    def _counted(cls, history: NDArray[Any], flagged: NDArray[np.bool_]) -> Self:
        groups: list[list[list[float]]] = [[], []]
        for proba in history:  # an epoch at a time: (n_samples,)
            proba = proba.astype(np.float32)
            for group, mask in zip(groups, (~flagged, flagged), strict=True):
                seen = proba[mask & ~np.isnan(proba)]
                low, high = np.percentile(seen, (25, 75)) if seen.size else (np.nan, np.nan)
                group.append([low, float(seen.mean()) if seen.size else np.nan, high])
        return cls(*groups)

    def _finding(self) -> str:
        last = [f"{group[-1, 1]:.2f}" for group in (self.kept, self.flagged)]
        text = f"After {len(self.kept)} epochs the given label has a probability of {last[0]} on rows not flagged"
        return text if np.isnan(self.flagged).all() else f"{text}, of {last[1]} on flagged ones"

    def _alt(self) -> str:
        first = [f"{group[0, 1]:.2f}" for group in (self.kept, self.flagged)]
        start = f"At the start it is {first[0]}" + ("" if np.isnan(self.flagged).all() else f" and {first[1]}")
        return f"Two curves over epochs. {self.finding}. {start}."

    def _draw(self, ax: Any) -> None:
        epochs = 1 + np.arange(len(self.kept))
        for group, color, style, name in (
            (self.kept, KEPT, "-", "not flagged"),
            (self.flagged, FLAGGED, "--", "flagged"),
        ):
            ax.fill_between(epochs, group[:, 0], group[:, 2], color=color, alpha=0.18, linewidth=0)
            ax.plot(epochs, group[:, 1], style, color=color, linewidth=2.2, label=name)
        ax.set(
            xlabel="epoch (line: mean, band: the middle half)",
            ylabel="probability of the given label",
            ylim=(-0.02, 1.02),
        )
        ax.xaxis.get_major_locator().set_params(integer=True)
        if len(epochs) > 1:
            ax.set_xlim(1, epochs[-1])
        ax.legend(frameon=False, fontsize=9, loc="center right")
        _bare(ax, grid="y")


class DatasetMapDisplay(_BeliefsDisplay):
    """Every row by how sure training was of its label and how much that varied (Swayamdipta et al. 2020).

    Rows at the bottom never convince the network: hard, or wrong. Those on the right are the ambiguous ones.

    Parameters
    ----------
    confidence, variability : array-like of shape (n_samples,)
        Mean and standard deviation over epochs of the probability of the given label.
    noise_mask : array-like of shape (n_samples,), bool
        Flagged rows.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    References
    ----------
    .. [1] Swayamdipta et al., "Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics", EMNLP
           2020.

    Examples
    --------
    >>> from robustlabels.report.displays import DatasetMapDisplay
    >>> proba = [[0.5, 0.5, 0.4], [0.8, 0.9, 0.2]]  # (epochs, rows)
    >>> DatasetMapDisplay.from_predictions(proba, [False, False, True]).finding
    'Training trusted the labels it did not flag (mean 0.68), and those it flagged less (0.30)'
    """

    def __init__(self, confidence: ArrayLike, variability: ArrayLike, noise_mask: ArrayLike) -> None:
        self.confidence, self.variability = np.asarray(confidence), np.asarray(variability)
        self.noise_mask = np.asarray(noise_mask, dtype=bool)

    @classmethod
    def from_predictions(cls, proba_given: ArrayLike, noise_mask: ArrayLike, *, ax: Any = None) -> Self:
        """Draw a table of probabilities.

        Parameters
        ----------
        proba_given : array-like of shape (n_epochs, n_samples)
            Probability of each row's given label, NaN where a row was not seen in an epoch.
        noise_mask : array-like of shape (n_samples,), bool
            Flagged rows.
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        return cls._counted(np.asarray(proba_given), np.asarray(noise_mask, dtype=bool)).plot(ax)

    @classmethod
    def of(cls, beliefs: Beliefs) -> Self:
        """Take the numbers, without drawing them."""
        return cls._counted(_history(beliefs, cls), beliefs.flagged)

    @classmethod
    def _counted(cls, history: NDArray[Any], flagged: NDArray[np.bool_]) -> Self:
        n = np.zeros(history.shape[1])
        total, square = np.zeros_like(n), np.zeros_like(n)
        for proba in history:  # an epoch at a time: (n_samples,)
            seen = ~np.isnan(proba)
            proba = np.where(seen, proba, 0).astype(np.float64)
            n += seen
            total += proba
            square += proba * proba
        seen = n > 0
        mean = total[seen] / n[seen]
        spread = np.sqrt(np.maximum(square[seen] / n[seen] - mean * mean, 0))
        return cls(mean, spread, flagged[seen])

    def _finding(self) -> str:
        kept, flagged = self.confidence[~self.noise_mask], self.confidence[self.noise_mask]
        if not flagged.size or not kept.size:
            return f"Training trusted its labels with a mean probability of {self.confidence.mean():.2f}"
        less = "less" if flagged.mean() < kept.mean() else "no less"
        return (
            f"Training trusted the labels it did not flag (mean {kept.mean():.2f}), and those it flagged {less} "
            f"({flagged.mean():.2f})"
        )

    def _alt(self) -> str:
        spread = self.variability.mean()
        return f"Map of rows, confidence against variability. {self.finding}. The mean variability is {spread:.2f}."

    def _draw(self, ax: Any) -> None:
        kept, flagged = ~self.noise_mask, self.noise_mask
        colors = report_extra("matplotlib.colors")
        for mask, color, name, marker in (kept, KEPT, "not flagged", "o"), (flagged, FLAGGED, "flagged", "x"):
            rows = np.flatnonzero(mask)
            rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), 1500)).astype(np.int64)]
            alpha = float(np.clip(150 / max(len(rows), 1), 0.15, 0.8))
            ax.scatter(
                self.variability[rows],
                self.confidence[rows],
                s=14,
                marker=marker,
                color=colors.to_rgba(color, alpha),
                linewidths=0 if marker == "o" else 1,
            )
            ax.scatter([], [], s=28, marker=marker, color=color, label=name)
        ax.set(
            xlabel="variability over epochs",
            ylabel="mean probability of the label",
            xlim=(-0.01, 0.5),  # no standard deviation in [0, 1] is larger
            ylim=(-0.02, 1.02),
        )
        ax.legend(frameon=False, fontsize=9, loc="upper right")  # no row is sure and varies
        _bare(ax)


def _history(beliefs: Beliefs, display: type) -> NDArray[Any]:
    if beliefs.history is None:
        raise ValueError(
            f"{display.__name__} needs what training said of every row in every epoch, which {beliefs.method} did not "
            "record; fit the classifier with robustlabels.fit_recorded(classifier, X, y), or pass a table of your own "
            "to from_predictions."
        )
    return beliefs.history


# --- where the truth is known -----------------------------------------------------------------------------------------


class DetectionCurveDisplay(_Display):
    """How well the scores find the labels that are wrong indeed.

    Parameters
    ----------
    x, y : array-like of shape (n_points,)
        Recall and precision, or false and true positive rate.
    area : float
        Average precision, or area under the curve.
    kind : {"precision_recall", "roc"}, default="precision_recall"
    chance : float, default=0.5
        What a random order has: the share of wrong labels, for precision.
    at_mask : tuple of two floats or None, default=None
        Where the flagged rows are on the curve.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from robustlabels.report.displays import DetectionCurveDisplay
    >>> flipped, scores = [True, False, True, False], [0.9, 0.8, 0.7, 0.1]
    >>> DetectionCurveDisplay.from_predictions(flipped, scores).finding
    'Ranking by score finds the wrong labels with an average precision of 0.83; a random order has 0.50'
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        area: float,
        *,
        kind: str = "precision_recall",
        chance: float = 0.5,
        at_mask: tuple[float, float] | None = None,
    ) -> None:
        if kind not in ("precision_recall", "roc"):
            raise ValueError(f"kind must be 'precision_recall' or 'roc', got {kind!r}.")
        self.x, self.y, self.area = np.asarray(x), np.asarray(y), area
        self.kind, self.chance, self.at_mask = kind, chance, at_mask
        self._size = (4.2, 3.4)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, flip_mask: ArrayLike, kind: str = "precision_recall", ax: Any = None
    ) -> Self:
        """Draw the curve of a fitted estimator.

        Parameters
        ----------
        estimator : fitted classifier or detector
        X : ignored
        y : array-like of shape (n_samples,)
            The labels it was fitted on.
        flip_mask : array-like of shape (n_samples,), bool
            True where the label is wrong, such as ``y != y_true``.
        kind : {"precision_recall", "roc"}, default="precision_recall"
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        beliefs = Beliefs.of(estimator, y)
        return cls.measured(np.asarray(flip_mask), beliefs.noise_scores, beliefs.flagged, kind).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        flip_mask: ArrayLike,
        noise_scores: ArrayLike,
        noise_mask: ArrayLike | None = None,
        *,
        kind: str = "precision_recall",
        ax: Any = None,
    ) -> Self:
        """Draw the curve of scores.

        Parameters
        ----------
        flip_mask : array-like of shape (n_samples,), bool
            True where the label is wrong.
        noise_scores : array-like of shape (n_samples,)
        noise_mask : array-like of shape (n_samples,), bool, or None, default=None
            Flagged rows, to be marked on the curve.
        kind : {"precision_recall", "roc"}, default="precision_recall"
        ax : matplotlib Axes or None, default=None

        Returns
        -------
        display
        """
        mask = None if noise_mask is None else np.asarray(noise_mask, dtype=bool)
        return cls.measured(np.asarray(flip_mask), np.asarray(noise_scores), mask, kind).plot(ax)

    @classmethod
    def measured(
        cls, flipped: NDArray[Any], scores: NDArray[Any], flagged: NDArray[np.bool_] | None, kind: str
    ) -> Self:
        """Measure scores against the truth, without drawing the curve."""
        found = detection_report(scores, flipped, noise_mask=flagged)
        flipped = flipped.astype(bool)
        if kind == "roc":
            x, y, _ = roc_curve(flipped, scores)
            area, chance = found.roc_auc, 0.5
        else:
            y, x, _ = precision_recall_curve(flipped, scores)
            area, chance = found.average_precision, found.true_rate
        at_mask = None
        if flagged is not None and flagged.any():
            assert found.precision is not None
            assert found.recall is not None
            false = float((flagged & ~flipped).sum() / (~flipped).sum())
            at_mask = (false, found.recall) if kind == "roc" else (found.recall, found.precision)
        few = np.unique(np.linspace(0, len(x) - 1, CURVE_POINTS).astype(np.int64))
        return cls(x[few], y[few], area, kind=kind, chance=chance, at_mask=at_mask)

    def _finding(self) -> str:
        if self.kind == "roc":
            return f"A wrong label has a higher score than a right one with a probability of {self.area:.2f}"
        return (
            f"Ranking by score finds the wrong labels with an average precision of {self.area:.2f}; a random order has "
            f"{self.chance:.2f}"
        )

    def _alt(self) -> str:
        text = f"{'ROC' if self.kind == 'roc' else 'Precision-recall'} curve. {self.finding}."
        if self.at_mask is None:
            return text
        first, second = (f"{name} of {value:.2f}" for name, value in zip(self._axes_names, self.at_mask, strict=True))
        return f"{text} The flagged rows have a {first} and a {second}."

    @property
    def _axes_names(self) -> tuple[str, str]:
        return ("false positive rate", "recall") if self.kind == "roc" else ("recall", "precision")

    def _draw(self, ax: Any) -> None:
        ax.plot(self.x, self.y, color=KEPT, linewidth=2.2, label="ranked by score", clip_on=False)
        line = ([0, 1], [0, 1]) if self.kind == "roc" else ([0, 1], [self.chance] * 2)
        ax.plot(*line, color=DARK, linestyle=":", linewidth=1.2, label="random order")
        if self.at_mask is not None:
            ax.plot(*self.at_mask, "X", color=FLAGGED, markersize=9, label="the flagged rows", clip_on=False)
        ax.set(xlabel=self._axes_names[0], ylabel=self._axes_names[1], xlim=(0, 1), ylim=(0, 1.02))
        loc = "lower right" if self.kind == "roc" else "lower left"
        ax.legend(facecolor="white", edgecolor="white", framealpha=0.9, fontsize=9, loc=loc)
        _bare(ax, grid="both")
