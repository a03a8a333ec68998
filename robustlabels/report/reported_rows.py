"""The rows of a report under the numbers and names that their owner knows them by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustlabels.report.evidence import Evidence, find_evidence, printable
from robustlabels.training.beliefs import Beliefs, Ints, encode

__all__ = ["ReportedRows"]


@dataclass(frozen=True, eq=False)
class ReportedRows:
    """What a fitted estimator says of its rows, joined with what identifies and shows them.

    Every method takes positions, from 0 to ``n_samples - 1``, and not the user's row numbers.

    Parameters
    ----------
    beliefs : :class:`~robustlabels.training.beliefs.Beliefs`
    evidence : :class:`~robustlabels.report.evidence.Evidence`
        Shows the contents of a row.
    numbers : ndarray of shape (n_samples,), int64
        The user's number of each row.
    key : {"path", "name", ""}
        The kind of name that rows have beside their number; "" if they have none.
    names : sequence of length n_samples or None
    true : ndarray of shape (n_samples,), int64, or None
        The true labels, as indices into the classes, if they are known.
    """

    beliefs: Beliefs
    evidence: Evidence
    numbers: Ints
    key: str
    names: Any
    true: Ints | None

    @classmethod
    def of(
        cls,
        beliefs: Beliefs,
        X: Any = None,
        *,
        texts: Any = None,
        names: Sequence[Any] | None = None,
        y_true: ArrayLike | None = None,
        channels: str = "auto",
        feature_names: Any = None,
        row_numbers: ArrayLike | None = None,
    ) -> Self:
        """Join the parts after checking that their lengths agree.

        Parameters
        ----------
        beliefs : :class:`~robustlabels.training.beliefs.Beliefs`
        X, texts, names, y_true, channels, feature_names, row_numbers
            As for :class:`~robustlabels.LabelReport`.

        Returns
        -------
        rows : ReportedRows

        Raises
        ------
        ValueError
            If the length of an argument differs from the number of labels, a true label is not one of the classes, or
            row numbers repeat.
        """
        n = len(beliefs)
        evidence = find_evidence(X, beliefs, texts=texts, channels=channels, feature_names=feature_names)
        key, row_names = _name_rows(evidence, names, n)
        true = None if y_true is None else encode(y_true, beliefs.classes, "y_true")
        if true is not None and len(true) != n:
            raise ValueError(
                f"y_true must have one label for each of the {n:,} labels in y, got {len(true):,}; pass the true "
                "labels of the same rows."
            )
        numbers = np.arange(n) if row_numbers is None else np.asarray(row_numbers, dtype=np.int64)
        if numbers.shape != (n,) or len(np.unique(numbers)) < n:
            raise ValueError(
                f"row_numbers must be {n:,} different numbers, one for each label in y, got an array of shape "
                f"{numbers.shape} with {len(np.unique(numbers)):,} different numbers; leave it out to count from 0."
            )
        return cls(beliefs, evidence, numbers, key, row_names, true)

    def __len__(self) -> int:
        return len(self.beliefs)

    def name(self, row: int) -> str:
        """Return the name of a row as text that any file can hold."""
        return printable(self.names[row])

    def records(self, rows: Ints) -> Iterator[dict[str, Any]]:
        """Yield each row as a dictionary of plain Python values, as ``json`` writes them.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,), int64

        Yields
        ------
        record : dict
        """
        b = self.beliefs
        labels = b.classes.tolist()
        for row in rows.tolist():
            record: dict[str, Any] = {"row": int(self.numbers[row])}
            if self.key:
                record[self.key] = self.name(row)
            yield record | {
                "given": labels[b.given[row]],
                "suggested": labels[b.suggested[row]],
                "noise_score": float(b.noise_scores[row]),
                "confidence": float(b.confidence[row]),
                "flagged": bool(b.flagged[row]),
            }

    def mislabeled(self) -> NDArray[np.bool_]:
        """Return True where the given label differs from the true one.

        Returns
        -------
        mask : ndarray of shape (n_samples,), bool

        Raises
        ------
        ValueError
            If the true labels are not known.
        """
        if self.true is None:
            raise ValueError(
                "the detection of wrong labels can only be measured against the true labels, and this report has none; "
                "pass them to from_estimator(..., y_true=...)."
            )
        return self.true != self.beliefs.given

    @property
    def measurable(self) -> bool:
        """Whether there are both wrong and right labels, without which precision and recall are undefined."""
        return self.true is not None and 0 < int(self.mislabeled().sum()) < len(self)

    def noise_rate(self) -> str:
        """Return the estimated noise rate as text, with its interval if the estimator gives one."""
        rate, interval = self.beliefs.noise_rate, self.beliefs.noise_rate_interval
        return f"{rate:.1%}" if interval is None else f"{rate:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"


def _name_rows(evidence: Evidence, names: Any, n: int) -> tuple[str, Any]:
    """Return the kind of name that rows have, and the names; images read from files are named by their paths."""
    if names is not None:
        if len(names) != n:
            raise ValueError(
                f"names must have one entry for each of the {n:,} labels in y, got {len(names):,}; pass the names of "
                "the same rows."
            )
        return "name", names.to_numpy() if hasattr(names, "iloc") else names
    paths = getattr(evidence, "paths", None)
    return ("", None) if paths is None else ("path", paths)
