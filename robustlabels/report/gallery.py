"""The most suspicious rows, drawn side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from robustlabels.report.drawing import DARK, PALE, Display, label_of
from robustlabels.report.evidence import Evidence, Item, find_evidence, plain, shorten
from robustlabels.training.beliefs import Beliefs, encode

__all__ = ["GalleryDisplay"]


class GalleryDisplay(Display):
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
    >>> display.summary
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
        self.figsize = (9.0, max(1, lines) * (inside + 0.35) + 0.4)

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

    def _summary(self) -> str:
        return f"The {len(self.items)} most suspicious of {self.n_samples:,} labels"

    def _alt(self) -> str:
        pairs = [f"{a} → {b}" if a != b else f"{a}, kept" for a, b in zip(self.given, self.suggested, strict=True)]
        return f"{self.summary}, given → suggested: {'; '.join(pairs)}."

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
    """Return the contents of a row without a picture, as wrapped text."""
    parts = textwrap.wrap(item.text, width)
    parts += [
        shorten(f"{c.name}: {c.value}  (usual {c.given}, in suggested {c.suggested})", width) for c in item.columns
    ]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 2] + " …"]
    return "\n".join(parts).replace("$", r"\$")
