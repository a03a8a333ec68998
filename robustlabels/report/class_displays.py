"""Displays by class: the share of flagged labels, and which class is mistaken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustlabels.report.drawing import DARK, FLAGGED, PALE, BeliefsDisplay, label_of, percent, strip_axes
from robustlabels.report.evidence import plain, report_extra, shorten
from robustlabels.training.beliefs import Beliefs, encode, ranking

__all__ = ["ClassNoiseDisplay", "TransitionMatrixDisplay"]

MOST_CLASSES = 20
"""Bars drawn; with more classes, those with the largest shares are shown."""

MOST_CELLS = 12
"""Rows and columns of the matrix drawn; with more classes, those with the largest errors are shown."""

NAME_IN_MATRIX = 16
"""Characters of a class name beside the matrix."""


class ClassNoiseDisplay(BeliefsDisplay):
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
    >>> display.summary
    '40% of the labels “dog” look wrong, 15% of all labels'
    """

    def __init__(self, classes: Sequence[Any], counts: ArrayLike, flagged: ArrayLike) -> None:
        self.classes = list(classes)
        self.counts, self.flagged = np.asarray(counts), np.asarray(flagged)
        self.shares = self.flagged / np.maximum(self.counts, 1)
        self.figsize = (4.6, 0.5 + 0.26 * min(len(self.classes), MOST_CLASSES + 1))

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

    def _summary(self) -> str:
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
        strip_axes(ax)
        ax.spines["bottom"].set_visible(False)


class TransitionMatrixDisplay(BeliefsDisplay):
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
    >>> TransitionMatrixDisplay([[0.9, 0.1], [0.3, 0.7]], ["cat", "dog"]).summary
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
        self.figsize = (max(cells + 0.09 * longest + 0.7, 4.4), cells + 0.07 * longest + 1.1)

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

    def _summary(self) -> str:
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
