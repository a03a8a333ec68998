"""Measure one run: fit on the given labels, and compare with the right ones."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from robustlabels.comparison.problems import Split
from robustlabels.comparison.storage import Row
from robustlabels.metrics import detection_report
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.net import AccuracyCurve


def measure(estimator: Any, split: Split, *, curve: bool = False) -> Row:
    """Fit on the given labels, and compare with the right ones.

    Parameters
    ----------
    estimator : classifier
        If it has no ``noise_scores_`` after ``fit`` but has ``predict_proba``, its rows are scored out of fold.
        ``noise_mask_`` and ``noise_rate_`` are optional.
    split : Split
    curve : bool, default=False
        Whether to measure test accuracy after every epoch too, if the classifier trains a network of the package. The
        time that this takes is not counted.

    Returns
    -------
    dict
        ``test_accuracy`` and ``test_f1`` (of the second class where there are two, else the mean over classes) at the
        last epoch, ``test_rows``, ``fitted_labels`` (accuracy on the given training labels), ``estimated_rate`` and
        ``mean_score`` (two estimates of the noise rate), ``true_rate``, ``seconds`` and ``cpu_seconds`` of fit and
        scores together; if some label is wrong, what :func:`~robustlabels.comparison.detection` returns; with a curve
        ``best_test_accuracy``, ``best_epoch`` and ``epochs``, of the last stage. An error of the scores loses only
        their measures: ``no_detection`` then says what happened.
    """
    watch = _watch(estimator, split) if curve else None
    start, cpu_start = time.perf_counter(), time.process_time()
    estimator.fit(split.X, split.given)
    found = _scores_and_mask(estimator, split)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    if watch is not None:
        seconds, cpu_seconds = seconds - watch.seconds, cpu_seconds - watch.cpu_seconds
    predicted = np.asarray(estimator.predict(split.X_test))
    classes = np.unique(split.true)
    scored = classes[1:] if len(classes) == 2 else None
    result: Row = {
        "test_accuracy": float(np.mean(predicted == split.y_test)),
        "test_rows": len(split.y_test),
        "test_f1": float(f1_score(split.y_test, predicted, labels=scored, average="macro", zero_division=0)),
        "fitted_labels": float(np.mean(np.asarray(estimator.predict(split.X)) == split.given)),
        "true_rate": float(np.mean(split.given != split.true)),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }
    result |= found if isinstance(found, dict) else _scored(estimator, *found, split)
    history = getattr(_network(estimator), "history", None) if watch is not None else None
    if history is not None and len(history):
        accuracy = history[:, "test_acc"]
        # The classifier may change its network after the last epoch, so the curve ends with what predicts.
        accuracy[-1] = result["test_accuracy"]
        result["best_test_accuracy"] = max(accuracy)
        result["best_epoch"] = 1 + int(np.argmax(accuracy))
        result["epochs"] = len(accuracy)
    return result


def _scores_and_mask(estimator: Any, split: Split) -> tuple[NDArray[Any], NDArray[Any] | None] | Row:
    """Return noise scores and mask; or, without scores, a dict that says why."""
    try:
        if hasattr(estimator, "noise_scores_"):
            mask = getattr(estimator, "noise_mask_", None)
            return np.asarray(estimator.noise_scores_), None if mask is None else np.asarray(mask)
        return out_of_fold(estimator, split.X, split.given) if hasattr(estimator, "predict_proba") else {}
    except Exception as error:  # the fit is done, and its accuracy should be stored
        return {"no_detection": f"{type(error).__name__}: {error}"}


def _scored(estimator: Any, scores: NDArray[Any], mask: NDArray[Any] | None, split: Split) -> Row:
    """Return the measures of scores and mask, with the noise rate that they estimate."""
    try:
        rate = getattr(estimator, "noise_rate_", None if mask is None else mask.mean())
        result = {} if rate is None else {"estimated_rate": float(rate)}
        return {**result, "mean_score": float(scores.mean()), **detection(scores, mask, split)}
    except Exception as error:  # the scores of a user's method may be anything
        return {"no_detection": f"{type(error).__name__}: {error}"}


def _watch(estimator: Any, split: Split) -> AccuracyCurve | None:
    """Put a callback into the network that predicts in the end; return None if there is no network of the package."""
    part, path = estimator, ""
    while not isinstance(part, BaseNoisyLabelClassifier):
        part, path = getattr(part, "estimator", None), f"{path}estimator__"
        if part is None:
            return None
    classes = np.unique(split.given)
    place = np.searchsorted(classes, split.y_test).clip(max=len(classes) - 1)
    watch = AccuracyCurve(split.X_test, np.where(classes[place] == split.y_test, place, -1))
    estimator.set_params(**{f"{path}callbacks": [*(part.callbacks or []), watch]})
    return watch


def _network(estimator: Any) -> Any:
    """Return the net that predicts, inside all wrappers, or None."""
    while estimator is not None and not hasattr(estimator, "net_"):
        estimator = getattr(estimator, "estimator_", None)
    return getattr(estimator, "net_", None)


def out_of_fold(estimator: Any, X: Any, y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Score the rows of any classifier: one minus the probability of the given label out of fold.

    Parameters
    ----------
    estimator : classifier with predict_proba
    X : array-like of shape (n_samples, ...)
    y : ndarray of shape (n_samples,)

    Returns
    -------
    scores : ndarray of shape (n_samples,)
    mask : ndarray of shape (n_samples,), dtype bool
    """
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    proba = cross_val_predict(estimator, X, y, cv=folds, method="predict_proba")
    given = np.searchsorted(np.unique(y), y)
    return 1 - proba[np.arange(len(given)), given], proba.argmax(1) != given


def detection(scores: NDArray[Any], mask: NDArray[Any] | None, split: Split) -> Row:
    """Return how well the wrong labels were found; an empty dict if every label is right.

    Parameters
    ----------
    scores : ndarray of shape (n_train,)
    mask : ndarray of shape (n_train,) or None
    split : Split

    Returns
    -------
    dict
        ``average_precision`` and ``roc_auc`` of the scores, and ``precision`` and ``recall`` of the mask unless it is
        None. If every label is wrong, ``no_detection`` instead, which says so.
    """
    wrong = split.given != split.true
    if not wrong.any():
        return {}
    if wrong.all():
        return {"no_detection": f"all {len(wrong)} labels are wrong, so that no ranking is better than another"}
    report = detection_report(scores, wrong, noise_mask=mask)
    names = ("average_precision", "roc_auc", *(() if mask is None else ("precision", "recall")))
    return {name: getattr(report, name) for name in names}
