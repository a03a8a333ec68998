"""Displays of the training history: the probability of every given label, epoch by epoch."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustlabels.report.drawing import FLAGGED, KEPT, BeliefsDisplay, strip_axes
from robustlabels.report.evidence import report_extra
from robustlabels.training.beliefs import Beliefs

__all__ = ["DatasetMapDisplay", "LearningCurvesDisplay"]


class LearningCurvesDisplay(BeliefsDisplay):
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
    >>> LearningCurvesDisplay.from_predictions(proba, [False, False, True]).summary
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

    def _summary(self) -> str:
        last = [f"{group[-1, 1]:.2f}" for group in (self.kept, self.flagged)]
        text = f"After {len(self.kept)} epochs the given label has a probability of {last[0]} on rows not flagged"
        return text if np.isnan(self.flagged).all() else f"{text}, of {last[1]} on flagged ones"

    def _alt(self) -> str:
        first = [f"{group[0, 1]:.2f}" for group in (self.kept, self.flagged)]
        start = f"At the start it is {first[0]}" + ("" if np.isnan(self.flagged).all() else f" and {first[1]}")
        return f"Two curves over epochs. {self.summary}. {start}."

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
        strip_axes(ax, grid="y")


class DatasetMapDisplay(BeliefsDisplay):
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
    >>> DatasetMapDisplay.from_predictions(proba, [False, False, True]).summary
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

    def _summary(self) -> str:
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
        return f"Map of rows, confidence against variability. {self.summary}. The mean variability is {spread:.2f}."

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
        strip_axes(ax)


def _history(beliefs: Beliefs, display: type) -> NDArray[Any]:
    if beliefs.history is None:
        raise ValueError(
            f"{display.__name__} needs what training said of every row in every epoch, which {beliefs.method} did not "
            "record; fit the classifier with robustlabels.fit_recorded(classifier, X, y), or pass a table of your own "
            "to from_predictions."
        )
    return beliefs.history
