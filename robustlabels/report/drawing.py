"""Shared by all displays: colors, number and label formats, and the base classes."""

from __future__ import annotations

import textwrap
from typing import Any, Self

from robustlabels.report.evidence import plain, report_extra, shorten
from robustlabels.training.beliefs import Beliefs

__all__ = ["DARK", "FLAGGED", "KEPT", "PALE", "BeliefsDisplay", "Display", "label_of", "percent", "strip_axes"]

KEPT, FLAGGED, DARK, PALE = "#0072b2", "#d55e00", "#333333", "#e8e8e8"
"""Blue and vermilion of Okabe and Ito's palette, and two grays."""

CHARACTERS_PER_INCH = 11
"""Of a title in 11 points, to wrap it at the width of the figure."""


def percent(share: float) -> str:
    """A share in as many digits as it deserves.

    Examples
    --------
    >>> from robustlabels.report.drawing import percent
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


class Display:
    """What displays have in common."""

    figsize = (4.6, 3.3)

    ax_: Any
    figure_: Any

    @property
    def summary(self) -> str:
        """What the picture shows, in one sentence."""
        return self._summary()

    @property
    def alt(self) -> str:
        """The picture in words."""
        return self._alt()

    def _summary(self) -> str:
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
            _, ax = pyplot.subplots(figsize=self.figsize, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self._draw(ax)
        if title:
            self.figure_.draw_without_rendering()  # places the axes
            room = self.figure_.bbox.x1 - ax.bbox.x0 if own else ax.bbox.width
            columns = max(20, int(room / self.figure_.dpi * CHARACTERS_PER_INCH))
            ax.set_title("\n".join(textwrap.wrap(self.summary.replace("$", r"\$"), columns)), loc="left", fontsize=11)
        return self

    def _draw(self, ax: Any) -> None:
        raise NotImplementedError


class BeliefsDisplay(Display):
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


def strip_axes(ax: Any, *, grid: str | None = None) -> None:
    """Remove the upper and the right spine, and draw a pale grid behind the data.

    Parameters
    ----------
    ax : matplotlib Axes
    grid : {"x", "y", "both"} or None, default=None
    """
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=PALE, linewidth=0.8)
