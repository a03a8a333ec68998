"""How well wrong labels were found, measured against flips that are known."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

__all__ = ["DetectionReport", "detection_report"]


@dataclass(frozen=True)
class DetectionReport:
    """What :func:`robustlabels.detection_report` measured; every number lies in [0, 1].

    Parameters
    ----------
    average_precision : float
        Area under the precision-recall curve of the scores; a random order has `true_rate`.
    roc_auc : float
        Probability that a flipped row scores higher than a clean one; a random order has 0.5.
    precision_at_noise : float
        Share of flipped rows among the highest-scoring rows, as many as there are flips.
    true_rate : float
        Share of flipped rows.
    precision, recall, estimated_rate : float or None
        Share of flipped rows among the flagged ones (0 if none is flagged), share of flagged rows among the flipped
        ones, and share of flagged rows; None without a mask.
    """

    average_precision: float
    roc_auc: float
    precision_at_noise: float
    true_rate: float
    precision: float | None = None
    recall: float | None = None
    estimated_rate: float | None = None

    def __str__(self) -> str:
        lines = [
            f"average precision    {self.average_precision:.3f}",
            f"ROC AUC              {self.roc_auc:.3f}",
            f"precision at noise   {self.precision_at_noise:.3f}",
            f"true noise rate      {self.true_rate:.3f}",
        ]
        if self.estimated_rate is not None:
            lines += [
                f"flagged              {self.estimated_rate:.3f}",
                f"precision            {self.precision:.3f}",
                f"recall               {self.recall:.3f}",
            ]
        return "\n".join(lines)


def detection_report(
    noise_scores: ArrayLike, flip_mask: ArrayLike, *, noise_mask: ArrayLike | None = None
) -> DetectionReport:
    """Measure noise scores, and a mask of flagged rows, against the rows whose labels are wrong.

    Parameters
    ----------
    noise_scores : array-like of shape (n_samples,)
        Higher is more suspicious, such as `noise_scores_` of a fitted classifier or detector.
    flip_mask : array-like of shape (n_samples,), dtype bool
        True where the label is wrong, such as `flip_mask_` of a simulator or ``y_noisy != y``.
    noise_mask : array-like of shape (n_samples,), dtype bool, default=None
        True where a row is flagged, such as `noise_mask_`; needed for precision, recall and the estimated rate.

    Returns
    -------
    DetectionReport
        Its numbers; ``print`` it for a table. Rows with equal scores count by their average, so that the order of the
        rows has no influence.

    Raises
    ------
    ValueError
        If the lengths differ, a score is NaN or infinite, a mask is not boolean, or no row or every row is flipped.

    Examples
    --------
    >>> from robustlabels.metrics import detection_report
    >>> flips, flagged = [True, False, True, False], [True, False, False, False]
    >>> report = detection_report([0.9, 0.8, 0.3, 0.1], flips, noise_mask=flagged)
    >>> print(report)
    average precision    0.833
    ROC AUC              0.750
    precision at noise   0.500
    true noise rate      0.500
    flagged              0.250
    precision            1.000
    recall               0.500
    """
    scores = np.asarray(noise_scores, dtype=np.float64)
    if scores.ndim != 1:
        raise ValueError(f"noise_scores must be 1-D, got shape {scores.shape}.")
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"noise_scores must be finite, got {scores[row]} in row {row}.")
    flipped = _check_mask(flip_mask, len(scores), "flip_mask")
    if flipped.all() or not flipped.any():
        raise ValueError(
            f"flip_mask must have flipped and clean rows, got {flipped.sum()} flips in {len(scores)} rows."
        )
    report = DetectionReport(
        average_precision=float(average_precision_score(flipped, scores)),
        roc_auc=float(roc_auc_score(flipped, scores)),
        precision_at_noise=_precision_at(scores, flipped, int(flipped.sum())),
        true_rate=float(flipped.mean()),
    )
    if noise_mask is None:
        return report
    flagged = _check_mask(noise_mask, len(scores), "noise_mask")
    return replace(
        report,
        precision=float(precision_score(flipped, flagged, zero_division=0)),
        recall=float(recall_score(flipped, flagged)),
        estimated_rate=float(flagged.mean()),
    )


def _precision_at(scores: NDArray[np.float64], flipped: NDArray[np.bool_], count: int) -> float:
    """Share of flips among the `count` highest scores; rows tied at the last place share what is left of it."""
    last = np.partition(scores, -count)[-count]
    above, tied = scores > last, scores == last
    hits = flipped[above].sum() + (count - above.sum()) * flipped[tied].mean()
    return float(hits / count)


def _check_mask(mask: ArrayLike, n_samples: int, name: str) -> NDArray[np.bool_]:
    values = np.asarray(mask)
    if values.shape != (n_samples,):
        raise ValueError(f"{name} must have one entry per noise score: shape ({n_samples},), got {values.shape}.")
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"{name} must hold True and False only, got {values[~np.isin(values, (0, 1))][0]}.")
    return values.astype(bool)
