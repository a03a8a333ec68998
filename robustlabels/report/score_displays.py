"""Displays of the noise scores: their histogram, and how well they rank the wrong labels."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from robustlabels.maths.functional import TwoComponentMixture, fit_two_component_mixture
from robustlabels.metrics import detection_report
from robustlabels.report.drawing import DARK, FLAGGED, KEPT, BeliefsDisplay, Display, strip_axes
from robustlabels.training.beliefs import Beliefs

__all__ = ["DetectionCurveDisplay", "ScoreHistogramDisplay"]

CURVE_POINTS = 1000
"""Points kept of a curve, however many rows it was computed from."""

N_BINS = 50


class ScoreHistogramDisplay(BeliefsDisplay):
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
    >>> display.summary
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

    def _summary(self) -> str:
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
        return f"Histogram of noise scores. {self.summary}.{cut}"

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
        strip_axes(ax)

    def _draw_mixture(self, ax: Any, width: float) -> None:
        assert self.mixture is not None
        n = self.kept.sum() + self.flagged.sum()
        x = np.linspace(self.edges[0], self.edges[-1], 400)
        parts = zip(self.mixture.weights, self.mixture.means, self.mixture.variances, strict=True)
        for i, (weight, mean, variance) in enumerate(parts):
            density = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
            ax.plot(x, n * width * weight * density, color="black", linewidth=1.2, label="mixture" if i == 0 else None)


class DetectionCurveDisplay(Display):
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
    >>> DetectionCurveDisplay.from_predictions(flipped, scores).summary
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
        self.figsize = (4.2, 3.4)

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

    def _summary(self) -> str:
        if self.kind == "roc":
            return f"A wrong label has a higher score than a right one with a probability of {self.area:.2f}"
        return (
            f"Ranking by score finds the wrong labels with an average precision of {self.area:.2f}; a random order has "
            f"{self.chance:.2f}"
        )

    def _alt(self) -> str:
        text = f"{'ROC' if self.kind == 'roc' else 'Precision-recall'} curve. {self.summary}."
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
        strip_axes(ax, grid="both")
