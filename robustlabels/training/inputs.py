"""Validation of the user's data: X in any container, labels, sample weights and soft labels.

No function changes its arguments. Data that a fit can read where it is stored is neither decoded nor copied.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.utils import _safe_indexing, check_consistent_length, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_method_params, assert_all_finite, validate_data

from robustlabels.image_files import ImagePaths

CHANNELS = (1, 3, 4)


def read_X(estimator: Any, X: Any, y: Any = None, *, reset: bool, image_size: int = 64, integers: bool = False) -> Any:
    """Return X as a plain array or a lazy container, checked against the estimator.

    Parameters
    ----------
    estimator : estimator
        With ``reset``, its attributes ``n_features_in_``, ``feature_names_in_``, ``input_shape_``, ``input_bytes_`` and
        ``input_integers_`` are set. Otherwise X is compared with them.
    X : array, DataFrame, Tensor, memory map, list of paths or lazy view of shape (n_samples, ...)
        The rows.
    y : array or None
        Only its presence and its length are checked here.
    reset : bool
        True in ``fit``.
    image_size : int, default=64
        Height and width of the images that paths are decoded to.
    integers : bool, default=False
        Keep whole numbers, for instance of tokens, as integers. Without ``reset``, this has an effect only if ``fit``
        got whole numbers too.

    Returns
    -------
    X : ndarray, memory map or lazy container of shape (n_samples, ...)
        Arrays have dtype float32 or uint8, and with ``integers`` also any signed integer dtype.

    Raises
    ------
    TypeError
        If X is a sparse matrix.
    ValueError
        If X is empty or not finite, if y is missing in ``fit``, if X and y have different lengths, or if X does not fit
        the data that the estimator was fitted on.
    """
    _refuse_sparse(estimator, X)
    if reset and y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None.")
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    if is_paths(X):
        X = ImagePaths(X, size=image_size)
    integers = integers and (reset or estimator.input_integers_)
    if is_lazy(X):
        _check_lazy(estimator, X, reset=reset)
    else:
        X = _checked_array(estimator, X, reset=reset, integers=integers)
    if y is not None:
        check_consistent_length(X, y)
    scaled = len(X.shape) > 2 and X.dtype == np.uint8  # Batches of images of bytes are divided by 255.
    whole = integers and np.issubdtype(X.dtype, np.integer)
    if reset:
        estimator.input_shape_ = tuple(X.shape[1:])
        estimator.input_bytes_ = bool(scaled)
        estimator.input_integers_ = bool(whole)
    else:
        _compare_with_fit(estimator, X, scaled=scaled, whole=whole, integers=integers)
    return X


def _refuse_sparse(estimator: Any, X: Any) -> None:
    if scipy.sparse.issparse(X):
        name = type(estimator).__name__
        raise TypeError(
            f"{name} needs dense input, got a sparse matrix of shape {np.shape(X)}; reduce it first, for instance with "
            f"make_pipeline(TruncatedSVD(100), {name}())."
        )


def _checked_array(estimator: Any, X: Any, *, reset: bool, integers: bool) -> Any:
    """Return an array or DataFrame as a finite array of a dtype that the training loop takes."""
    if integers and not (hasattr(X, "dtype") or hasattr(X, "iloc")):
        X = np.asarray(X)  # scikit-learn would convert a list to float32 without looking at what it holds
    # A memory map keeps its dtype: casting it would read it into memory as a whole. Its batches are cast instead.
    mapped = isinstance(X, np.memmap) and X.dtype.kind in "fui"
    kept = [np.float32, np.uint8, *([np.int64, np.int32, np.int16, np.int8] if integers else [])]
    return validate_data(estimator, X, reset=reset, allow_nd=True, dtype=None if mapped else kept)


def _compare_with_fit(estimator: Any, X: Any, *, scaled: bool, whole: bool, integers: bool) -> None:
    """Raise unless rows to predict have the shape and the kind of numbers of the fitted ones."""
    name = type(estimator).__name__
    if tuple(X.shape[1:]) != estimator.input_shape_:
        raise ValueError(
            f"X has rows of shape {tuple(X.shape[1:])}, but {name} was fitted on rows of shape "
            f"{estimator.input_shape_}; resize the rows or reorder their axes first."
        )
    if scaled != estimator.input_bytes_:
        was, now = ("uint8", str(X.dtype)) if estimator.input_bytes_ else ("float", "uint8")
        raise ValueError(
            f"X holds images of {now}, but {name} was fitted on images of {was}: uint8 images are divided by 255, and "
            "others are used unchanged. Convert X to the type that fit got, with X.astype(...)."
        )
    if integers and not whole:
        raise ValueError(
            f"X holds {X.dtype}, but {name} was fitted on whole numbers, which dtype=None passes to the module "
            "unchanged; convert X with X.astype(int)."
        )


def is_paths(X: Any) -> bool:
    """Return whether X is a list, array or Series of file paths, judged by its first entry."""
    if not (isinstance(X, (list, tuple)) or getattr(X, "ndim", None) == 1) or not hasattr(X, "__len__") or len(X) == 0:
        return False
    first = X.iloc[0] if hasattr(X, "iloc") else X[0]
    return isinstance(first, (str, os.PathLike)) and not isinstance(first, bytes)


def is_lazy(X: Any) -> bool:
    """Return whether X is a view that reads its rows on demand: it has an array's shape, but it is not an array."""
    known = isinstance(X, (np.ndarray, list, tuple)) or hasattr(X, "__array_interface__") or hasattr(X, "iloc")
    known = known or scipy.sparse.issparse(X)
    return not known and all(hasattr(X, a) for a in ("shape", "dtype", "__len__", "__getitem__")) and len(X.shape) > 1


def _check_lazy(estimator: Any, X: Any, *, reset: bool) -> None:
    if len(X) == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={tuple(X.shape)}) while a minimum of 1 is required.")
    # Only what validate_data would set: its check of the values would read all of them.
    if reset:
        estimator.n_features_in_ = X.shape[1]
        vars(estimator).pop("feature_names_in_", None)


def read_layout(X: Any, module: Any, channels: str) -> str:
    """Return how a row becomes the module's input: "as_is", "channels_last" or "gray".

    X with four axes holds images. ``channels="auto"`` reads them as (n, h, w, c) if the last axis has 1, 3 or 4 entries
    and the second axis has not, and as (n, c, h, w) otherwise. X with three axes holds gray images (n, h, w) if the
    module is the name of a preset other than "mlp".

    Parameters
    ----------
    X : array or lazy container of shape (n_samples, ...)
        The rows.
    module : str or object
        The classifier's parameter.
    channels : {"auto", "first", "last"}
        The classifier's parameter.

    Returns
    -------
    layout : str
        As in :class:`~robustlabels.training.rows.Rows`.

    Raises
    ------
    ValueError
        If ``channels`` is unknown.
    """
    if channels not in ("auto", "first", "last"):
        raise ValueError(f"channels must be 'auto', 'first' or 'last', got {channels!r}.")
    if len(X.shape) == 3:
        return "gray" if isinstance(module, str) and module != "mlp" else "as_is"
    if len(X.shape) != 4 or channels == "first":
        return "as_is"
    last = channels == "last" or (X.shape[-1] in CHANNELS and X.shape[1] not in CHANNELS)
    return "channels_last" if last else "as_is"


def read_labels(estimator: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes in sorted order, and the labels as class numbers.

    Parameters
    ----------
    estimator : estimator
        Named in errors.
    y : array-like of shape (n_samples,)
        Labels of any type that scikit-learn takes.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    y : ndarray of shape (n_samples,), int64

    Raises
    ------
    ValueError
        If y is not 1-D, has missing values or is not a classification target.
    """
    y = column_or_1d(y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y, warn=True)
    assert_all_finite(y, estimator_name=type(estimator).__name__, input_name="y")
    check_classification_targets(y)
    classes, numbers = np.unique(y, return_inverse=True)
    return classes, numbers.astype(np.int64)


def read_weights(
    sample_weight: Any, class_weight: Any, classes: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows to train on, and weights whose mean over these rows is one.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or None
        Rows of weight zero are left out.
    class_weight : dict, "balanced" or None
        As in scikit-learn.
    classes : ndarray of shape (n_classes,)
        All labels, sorted.
    y : ndarray of shape (n_samples,), int64
        Class numbers.

    Returns
    -------
    rows : ndarray of shape (n_trained,), int64
        Row numbers.
    weight : ndarray of shape (n_samples,), float32, or None
        None if all rows have the same weight.

    Raises
    ------
    ValueError
        If weights have the wrong shape, are negative or not finite, or leave rows of fewer than two classes.
    """
    weight = np.ones(len(y))
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != y.shape:
            raise ValueError(
                f"sample_weight must have one weight for each of the {len(y)} rows, got shape {weight.shape}."
            )
        assert_all_finite(weight, input_name="sample_weight")
        if weight.min() < 0:
            # This message and the next one begin like scikit-learn's own.
            raise ValueError(
                f"Negative values in data passed to `sample_weight`: the smallest is {weight.min():g}. Weights must be "
                "0 or more; a weight of 0 leaves a row out."
            )
        if weight.max() == 0:
            raise ValueError("Sample weights must contain at least one non-zero number, but all of them are zero.")
    rows = np.flatnonzero(weight)
    if class_weight is not None:
        weight = weight * compute_class_weight(class_weight, classes=classes, y=classes[y])[y]
        rows = np.flatnonzero(weight)
    if np.unique(y[rows]).size < 2:
        which = "y holds" if len(rows) == len(y) else "the rows with a positive sample_weight hold"
        raise ValueError(
            f"A classifier needs rows of at least 2 classes, but {which} one class: "
            f"{classes.tolist()[y[rows[0]]] if len(rows) else None!r}."
        )
    if np.ptp(weight) == 0:
        return rows, None
    return rows, (weight / weight[rows].mean()).astype(np.float32)


def read_soft_labels(soft_labels: Any, n: int, n_classes: int) -> np.ndarray | None:
    """Return soft labels as float32 rows that sum to one.

    Parameters
    ----------
    soft_labels : array-like of shape (n, n_classes) or None
        Label distributions.
    n, n_classes : int
        The expected shape.

    Returns
    -------
    ndarray of shape (n, n_classes), float32, or None

    Raises
    ------
    ValueError
        If the shape is another, or a row is negative, not finite or does not sum to one within 0.001.
    """
    if soft_labels is None:
        return None
    soft = np.asarray(soft_labels, dtype=np.float32)
    if soft.shape != (n, n_classes):
        raise ValueError(
            f"soft_labels must have shape {(n, n_classes)}, one row for each of X and one column for each class in "
            f"sorted order, got {soft.shape}."
        )
    wrong = ~np.isfinite(soft).all(1) | (soft < 0).any(1) | (np.abs(soft.sum(1) - 1) > 1e-3)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"Each row of soft_labels must be non-negative and sum to 1, but row {row} is {soft[row].tolist()}; "
            "normalize the rows first."
        )
    return soft


def column_statistics(rows: Any, chunk_bytes: int = 8 << 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation over the training rows: of each column of a table, or each channel of images.

    The rows are read once, in small chunks on the device.

    Parameters
    ----------
    rows : Rows
        Training rows.
    chunk_bytes : int, default=8 MiB
        Size of a chunk in float32.

    Returns
    -------
    mean, std : Tensor of shape (n_columns,) or (n_channels,), float32
        On the CPU.
    """
    first = rows.inputs(rows.index[:1])
    size = max(1, chunk_bytes // (4 * first[0].numel()))
    over = (0, 2, 3) if first.ndim == 4 else (0,)
    wide = torch.float32 if first.device.type == "mps" else torch.float64  # mps has no float64
    # The mean of the first chunk is subtracted from all rows: E[x^2] - E[x]^2 of columns with a large mean would lose
    # a small spread to cancellation.
    shift: torch.Tensor | None = None
    count, total, square = 0, torch.zeros((), device=first.device), torch.zeros((), device=first.device)
    for index in rows.index.split(size):
        x = rows.inputs(index).float()
        x = x if first.ndim == 4 else x.flatten(1)
        shift = x.mean(over, keepdim=True) if shift is None else shift
        x = x - shift
        count += x.numel() // x.shape[1]
        total = total + x.sum(over, dtype=wide)
        square = square + x.square_().sum(over, dtype=wide)
    assert shift is not None
    mean = total / count
    std = (square / count - mean.square()).clamp_min_(0).sqrt_()
    return (shift.flatten() + mean).float().cpu(), std.float().cpu()


def checksum(X: Any) -> str:
    """Return a checksum of the contents of X: of an array its values, of files their paths, else the word "lazy".

    A checkpoint stores it, to refuse resuming on other data.
    """
    if hasattr(X, "paths"):
        return f"{zlib.crc32(chr(10).join(map(str, X.paths)).encode()):08x}"
    if not isinstance(X, np.ndarray):
        return "lazy"
    crc = 0
    # Chunks keep a memory map, and the copy of an array that is not contiguous, out of memory.
    for start in range(0, len(X), 4096):
        crc = zlib.crc32(np.ascontiguousarray(X[start : start + 4096]).view(np.uint8).data, crc)
    return f"{crc:08x}"


def take_rows(data: Any, rows: np.ndarray) -> Any:
    """Return some rows of an array, CSR matrix, DataFrame, list, tensor or lazy view, in the same container."""
    return _safe_indexing(data, rows)


def take_params(data: Any, params: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Return some rows of each parameter that has one entry per row of ``data``, and the other parameters unchanged."""
    return _check_method_params(data, params, indices=rows)
