"""How well wrong labels were found, and how good a classifier is when the labels it is measured with may be wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import (
    average_precision_score,
    get_scorer,
    make_scorer,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.metadata_routing import MetadataRequest

from robustlabels.training.inputs import take_params, take_rows
from robustlabels.training.parameters import check_number

__all__ = [
    "DetectionReport",
    "TrustedScorer",
    "detection_report",
    "noise_corrected_accuracy",
    "noise_corrected_scorer",
    "trusted_scorer",
]


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
    budget : int or None
        How many rows somebody will look at.
    precision_at_budget : float or None
        Share of flipped rows among as many highest-scoring ones; None without a budget.
    """

    average_precision: float
    roc_auc: float
    precision_at_noise: float
    true_rate: float
    precision: float | None = None
    recall: float | None = None
    estimated_rate: float | None = None
    budget: int | None = None
    precision_at_budget: float | None = None

    def __str__(self) -> str:
        lines = [
            f"average precision    {self.average_precision:.3f}",
            f"ROC AUC              {self.roc_auc:.3f}",
            f"precision at noise   {self.precision_at_noise:.3f}",
            f"true noise rate      {self.true_rate:.3f}",
        ]
        if self.budget is not None:
            lines.append(f"precision in top {self.budget:<4d}{self.precision_at_budget:.3f}")
        if self.estimated_rate is not None:
            lines += [
                f"flagged              {self.estimated_rate:.3f}",
                f"precision            {self.precision:.3f}",
                f"recall               {self.recall:.3f}",
            ]
        return "\n".join(lines)


def detection_report(
    noise_scores: ArrayLike, flip_mask: ArrayLike, *, noise_mask: ArrayLike | None = None, budget: int | None = None
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
    budget : int, default=None
        How many rows somebody will look at, the most suspicious first; needed for the precision at this budget.

    Returns
    -------
    DetectionReport
        Its numbers; ``print`` it for a table. Rows with equal scores count by their average, so that the order of the
        rows has no influence.

    Raises
    ------
    ValueError
        If the lengths differ, a score is NaN or infinite, a mask is not boolean, no row or every row is flipped, or the
        budget is not between 1 and the number of rows.

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
    if budget is not None:
        check_number("budget", budget, 1, len(scores), integer=True)
        report = replace(report, budget=int(budget), precision_at_budget=_precision_at(scores, flipped, int(budget)))
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


def _check_mask(mask: ArrayLike, n_samples: int, name: str, of: str = "noise score") -> NDArray[np.bool_]:
    values = np.asarray(mask)
    if values.shape != (n_samples,):
        raise ValueError(f"{name} must have one entry per {of}: shape ({n_samples},), got {values.shape}.")
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"{name} must hold True and False only, got {values[~np.isin(values, (0, 1))][0]}.")
    return values.astype(bool)


# --- scores from labels that may be wrong -----------------------------------------------------------------------------


class TrustedScorer:
    """The scorer that :func:`~robustlabels.trusted_scorer` makes.

    Parameters
    ----------
    scoring : str or callable
        What scores the trusted rows.
    """

    def __init__(self, scoring: str | Callable[..., float]) -> None:
        self.scoring = scoring
        self._requests: dict[str, bool | str | None] = {"trusted": True}

    def __repr__(self) -> str:
        return f"trusted_scorer({self.scoring!r})"

    def __call__(self, estimator: Any, X: Any, y: Any, *, trusted: ArrayLike | None = None, **params: Any) -> float:
        """Score the trusted rows."""
        if trusted is None:
            raise ValueError(
                f"{self!r} needs trusted=, one flag per row: call sklearn.set_config(enable_metadata_routing=True) and "
                "pass it on, as in GridSearchCV(...).fit(X, y, trusted=mask) or cross_validate(..., "
                "params={'trusted': mask})."
            )
        mask = _check_mask(trusted, len(y), "trusted", "row")
        if not mask.any():
            raise ValueError(
                f"{self!r} got {len(mask)} rows and none of them is trusted; mark some, and split so that every fold "
                "has some, with StratifiedKFold().split(X, trusted) for instance."
            )
        rows = np.flatnonzero(mask)
        return get_scorer(self.scoring)(
            estimator, take_rows(X, rows), take_rows(y, rows), **take_params(y, params, rows)
        )

    def set_score_request(self, **requests: bool | str | None) -> Self:
        """Say what metadata is asked for: `trusted` already is; `sample_weight` reaches the inner scorer.

        Parameters
        ----------
        **requests : bool, str or None
            True, False, None, or another name to ask under, as scikit-learn's scorers take them.

        Returns
        -------
        self
            The fitted estimator.
        """
        self._requests = {**self._requests, **requests}
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """What metadata is asked for.

        Returns
        -------
        MetadataRequest
        """
        routing = MetadataRequest(owner=self)
        for name, alias in self._requests.items():
            routing.score.add_request(param=name, alias=alias)
        return routing


def trusted_scorer(scoring: str | Callable[..., float] = "accuracy") -> TrustedScorer:
    """Scorer that looks at rows with trusted labels only.

    Model selection then rests on the few labels that somebody has checked, while all rows are trained on. The flags
    travel by scikit-learn's metadata routing, which has to be enabled.

    Parameters
    ----------
    scoring : str or callable, default="accuracy"
        A name that scikit-learn knows, or a scorer, ``scorer(estimator, X, y)``.

    Returns
    -------
    TrustedScorer
        A scorer that requests `trusted`, one flag per row; rename it with ``set_score_request(trusted="checked")``. A
        call in which no row is trusted raises ValueError.

    Examples
    --------
    >>> import numpy as np
    >>> import sklearn
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from robustlabels import trusted_scorer
    >>> X, y = make_classification(random_state=0)
    >>> checked = np.arange(100) % 5 == 0
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     grid = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, scoring=trusted_scorer("accuracy"))
    ...     grid = grid.fit(X, y, trusted=checked)
    >>> round(float(grid.best_score_), 2)  # on the four checked rows of each fold
    0.83
    """
    get_scorer(scoring)  # an unknown name is an error here already
    return TrustedScorer(scoring)


def noise_corrected_accuracy(
    y_noisy: ArrayLike,
    y_pred: ArrayLike,
    transition_matrix: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Accuracy on the true labels, estimated from noisy ones: unbiased where the transition matrix is right.

    A row counts ``inv(T)[y_noisy, y_pred]`` instead of 0 or 1, the backward correction of [1]_ applied to accuracy. Its
    mean over the noise is 1 where the prediction is the true label and 0 elsewhere, since T inv(T) = I. The estimate
    may fall outside [0, 1]; it varies the more from draw to draw, the closer T is to a matrix without inverse.

    Parameters
    ----------
    y_noisy : array-like of shape (n_samples,)
        Labels as given. They must be noisy independently of the predictions: rows the classifier was not trained on.
    y_pred : array-like of shape (n_samples,)
        Predictions.
    transition_matrix : array-like of shape (n_classes, n_classes)
        Probability that a row of class i (in the order of `labels`) is labeled j, such as `transition_matrix_` of a
        classifier, a detector or a simulator.
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the matrix; None takes the sorted labels of both `y_noisy` and `y_pred`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.

    Returns
    -------
    float
        The estimate.

    Raises
    ------
    ValueError
        If the matrix is not one of probabilities or has no inverse, or a label is not among `labels`.

    References
    ----------
    .. [1] Patrini, Rozza, Menon, Nock and Qu, "Making Deep Neural Networks Robust to Label Noise: a Loss Correction
           Approach", CVPR 2017, theorem 1.

    Examples
    --------
    >>> from robustlabels.metrics import noise_corrected_accuracy
    >>> y_noisy, y_pred = [0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]
    >>> noise_corrected_accuracy(y_noisy, y_pred, [[1, 0], [0, 1]])
    0.875
    >>> round(noise_corrected_accuracy(y_noisy, y_pred, [[0.9, 0.1], [0.1, 0.9]]), 4)
    0.9688
    """
    inverse = _inverse(transition_matrix)
    noisy, predicted = column_or_1d(y_noisy), column_or_1d(y_pred)
    check_consistent_length(noisy, predicted, sample_weight)
    classes = np.unique(np.concatenate([noisy, predicted])) if labels is None else np.asarray(labels)
    if classes.shape != (len(inverse),):
        raise ValueError(
            f"transition_matrix has {len(inverse)} rows, but there are {len(classes)} classes {classes[:10].tolist()}; "
            "pass labels=, all classes in the order of its rows."
        )
    cell = inverse[_codes(noisy, classes, "y_noisy"), _codes(predicted, classes, "y_pred")]
    return float(np.average(cell, weights=None if sample_weight is None else np.asarray(sample_weight)))


def noise_corrected_scorer(transition_matrix: ArrayLike, *, labels: ArrayLike | None = None) -> Callable[..., float]:
    """Scorer of :func:`~robustlabels.noise_corrected_accuracy`, for model selection on noisy labels.

    Parameters
    ----------
    transition_matrix : array-like of shape (n_classes, n_classes)
        Probability that a row of class i is labeled j.
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the matrix; None takes the sorted labels of each call, so that folds without some
        class need it.

    Returns
    -------
    callable
        A scikit-learn scorer, ``scorer(estimator, X, y)``.

    Raises
    ------
    ValueError
        If the matrix is not one of probabilities or has no inverse.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.model_selection import cross_val_score
    >>> from robustlabels import noise_corrected_scorer
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> noise = SymmetricNoise(0.4, random_state=0)
    >>> y_noisy = noise.flip(y)
    >>> round(float(cross_val_score(RidgeClassifier(), X, y_noisy).mean()), 2)
    0.53
    >>> scoring = noise_corrected_scorer(noise.transition_matrix_)
    >>> round(float(cross_val_score(RidgeClassifier(), X, y_noisy, scoring=scoring).mean()), 2)
    0.87

    It was 0.87 on the true labels.
    """
    matrix = np.array(transition_matrix, dtype=np.float64)
    _inverse(matrix)
    return make_scorer(noise_corrected_accuracy, transition_matrix=matrix, labels=labels)


def _inverse(transition_matrix: ArrayLike) -> NDArray[np.float64]:
    """The inverse (K, K) of a matrix of probabilities."""
    matrix = np.array(transition_matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"transition_matrix must be square, got shape {matrix.shape}.")
    if not np.isfinite(matrix).all() or matrix.min() < 0:
        raise ValueError(
            f"transition_matrix must hold finite numbers >= 0, got a smallest entry of {matrix.min():.6g}."
        )
    if len(wrong := np.flatnonzero(np.abs(matrix.sum(axis=1) - 1) > 1e-6)):
        total = matrix[wrong[0]].sum()
        raise ValueError(f"the rows of transition_matrix must sum to 1, row {wrong[0]} sums to {total:.6g}.")
    rank = np.linalg.matrix_rank(matrix)
    if rank < len(matrix):
        raise ValueError(
            f"transition_matrix has no inverse: its {len(matrix)} rows have rank {rank}, so that labels of different "
            "classes look alike and say nothing of the accuracy; use trusted_scorer instead."
        )
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _codes(y: NDArray[Any], classes: NDArray[Any], name: str) -> NDArray[np.intp]:
    """Positions of the labels in `classes`, in whatever order those are."""
    order = np.argsort(classes)
    place = np.searchsorted(classes, y, sorter=order).clip(max=len(classes) - 1)
    codes = order[place]
    if len(unknown := np.flatnonzero(classes[codes] != y)):
        raise ValueError(
            f"{name} has the label {y.tolist()[unknown[0]]!r}, which labels= does not have: {classes[:10].tolist()}."
        )
    return codes
