"""What people hand in, brought to clean arrays: X in any container, labels, weights, soft labels.

Nothing here changes what it was given, and nothing is decoded or copied that a fit can read where it lies.
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
    """X as a plain array or a lazy container, checked against the estimator.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_``, ``feature_names_in_``, ``input_shape_``, ``input_bytes_`` and ``input_integers_`` when
        ``reset``, is compared with them else.
    X : array, DataFrame, Tensor, memory map, list of paths or lazy view of shape (n_samples, ...)
    y : array or None
        Only its presence and length are looked at here.
    reset : bool
        True in ``fit``.
    image_size : int
        Side of the images that paths are decoded to.
    integers : bool
        Keep whole numbers, of tokens say, as such; when not ``reset``, if they were in ``fit``.

    Returns
    -------
    X : ndarray, memory map or lazy container of shape (n_samples, ...)
        Arrays are of dtype float32 or uint8, with ``integers`` also of any signed one.
    """
    name = type(estimator).__name__
    if scipy.sparse.issparse(X):
        raise TypeError(
            f"{name} needs dense input, got a sparse matrix of shape {np.shape(X)}; reduce it first, for instance "
            f"make_pipeline(TruncatedSVD(100), {name}())."
        )
    if reset and y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    if is_paths(X):
        X = ImagePaths(X, size=image_size)
    integers = integers and (reset or estimator.input_integers_)
    if is_lazy(X):
        _check_lazy(estimator, X, reset=reset)
    else:
        if integers and not (hasattr(X, "dtype") or hasattr(X, "iloc")):
            X = np.asarray(X)  # of a list scikit-learn does not see what it holds
        mapped = isinstance(X, np.memmap) and X.dtype.kind in "fui"  # cast batch by batch, never as a whole
        kept = [np.float32, np.uint8, *([np.int64, np.int32, np.int16, np.int8] if integers else [])]
        X = validate_data(estimator, X, reset=reset, allow_nd=True, dtype=None if mapped else kept)
    if y is not None:
        check_consistent_length(X, y)
    scaled = len(X.shape) > 2 and X.dtype == np.uint8  # images of bytes reach the network divided by 255
    whole = integers and np.issubdtype(X.dtype, np.integer)
    if reset:
        estimator.input_shape_ = tuple(X.shape[1:])
        estimator.input_bytes_ = bool(scaled)
        estimator.input_integers_ = bool(whole)
    elif tuple(X.shape[1:]) != estimator.input_shape_:
        raise ValueError(
            f"X has rows of shape {tuple(X.shape[1:])}, but {name} was fitted on rows of shape "
            f"{estimator.input_shape_}; resize or reorder them first."
        )
    elif scaled != estimator.input_bytes_:
        was, now = ("uint8", str(X.dtype)) if estimator.input_bytes_ else ("float", "uint8")
        raise ValueError(
            f"X holds images of {now}, but {name} was fitted on images of {was}: bytes are divided by 255, others "
            "are taken as they are. Give both in one type, with X.astype(...)."
        )
    elif integers and not whole:
        raise ValueError(
            f"X holds {X.dtype}, but {name} was fitted on whole numbers, which dtype=None hands to the module as they "
            "are; give them as such, with X.astype(int)."
        )
    return X


def is_paths(X: Any) -> bool:
    """Whether X is a list, array or Series of file paths."""
    if not (isinstance(X, (list, tuple)) or getattr(X, "ndim", None) == 1) or not hasattr(X, "__len__") or len(X) == 0:
        return False
    first = X.iloc[0] if hasattr(X, "iloc") else X[0]
    return isinstance(first, (str, os.PathLike)) and not isinstance(first, bytes)


def is_lazy(X: Any) -> bool:
    """Whether X is array-like in shape but not an array: a view that reads rows when asked."""
    known = isinstance(X, (np.ndarray, list, tuple)) or hasattr(X, "__array_interface__") or hasattr(X, "iloc")
    known = known or scipy.sparse.issparse(X)
    return not known and all(hasattr(X, a) for a in ("shape", "dtype", "__len__", "__getitem__")) and len(X.shape) > 1


def _check_lazy(estimator: Any, X: Any, *, reset: bool) -> None:
    if len(X) == 0:
        raise ValueError(f"Found array with 0 sample(s) (shape={tuple(X.shape)}) while a minimum of 1 is required.")
    if reset:
        estimator.n_features_in_ = X.shape[1]
        vars(estimator).pop("feature_names_in_", None)


def read_layout(X: Any, module: Any, channels: str) -> str:
    """How one row becomes what the module sees: "as_is", "channels_last" or "gray".

    Four axes are images. ``channels="auto"`` reads them as (n, h, w, c) when only the last axis counts 1, 3 or 4
    channels, and as (n, c, h, w) otherwise. Three axes are gray images (n, h, w) for the presets by name.
    """
    if channels not in ("auto", "first", "last"):
        raise ValueError(f"channels must be 'auto', 'first' or 'last', got {channels!r}.")
    if X.ndim == 3 if hasattr(X, "ndim") else len(X.shape) == 3:
        return "gray" if isinstance(module, str) and module != "mlp" else "as_is"
    if len(X.shape) != 4 or channels == "first":
        return "as_is"
    last = channels == "last" or (X.shape[-1] in CHANNELS and X.shape[1] not in CHANNELS)
    return "channels_last" if last else "as_is"


def read_labels(estimator: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Classes in order and the labels as their numbers.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
    y : ndarray of shape (n_samples,), int64
    """
    y = column_or_1d(y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y, warn=True)
    assert_all_finite(y, estimator_name=type(estimator).__name__, input_name="y")
    check_classification_targets(y)
    classes, numbers = np.unique(y, return_inverse=True)
    return classes, numbers.astype(np.int64)


def read_weights(
    sample_weight: Any, class_weight: Any, classes: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Which rows are trained on, and their weights, of mean one over those rows; None if all weigh the same.

    Returns
    -------
    rows : ndarray of shape (n_trained,), int64
    weight : ndarray of shape (n_samples,), float32, or None
    """
    weight = np.ones(len(y))
    if sample_weight is not None:
        weight = np.asarray(sample_weight, dtype=np.float64)
        if weight.shape != y.shape:
            raise ValueError(
                f"sample_weight has shape {weight.shape}, but there are {len(y)} labels, {y.shape} expected."
            )
        assert_all_finite(weight, input_name="sample_weight")
        if weight.min() < 0:
            raise ValueError(f"Negative values in data passed to `sample_weight`: the smallest is {weight.min():g}.")
        if weight.max() == 0:
            raise ValueError("Sample weights must contain at least one non-zero number; all are zero.")
    rows = np.flatnonzero(weight)
    if class_weight is not None:
        weight = weight * compute_class_weight(class_weight, classes=classes, y=classes[y])[y]
        rows = np.flatnonzero(weight)
    if np.unique(y[rows]).size < 2:
        which = "y holds" if len(rows) == len(y) else "those of sample_weight above zero hold"
        raise ValueError(
            f"a classifier needs rows of at least 2 classes, but {which} one class: "
            f"{classes.tolist()[y[rows[0]]] if len(rows) else None!r}."
        )
    if np.ptp(weight) == 0:
        return rows, None
    return rows, (weight / weight[rows].mean()).astype(np.float32)


def read_soft_labels(soft_labels: Any, n: int, n_classes: int) -> np.ndarray | None:
    """Soft labels as float32 rows that sum to one."""
    if soft_labels is None:
        return None
    soft = np.asarray(soft_labels, dtype=np.float32)
    if soft.shape != (n, n_classes):
        raise ValueError(
            f"soft_labels must have shape {(n, n_classes)} (rows, classes in sorted order), got {soft.shape}."
        )
    off = np.abs(soft.sum(1) - 1)
    if not np.isfinite(soft).all() or soft.min() < 0 or off.max() > 1e-3:
        row = int(np.argmax(np.where(np.isfinite(off), off, np.inf)))
        raise ValueError(f"soft_labels must be non-negative rows that sum to 1; row {row} is {soft[row].tolist()}.")
    return soft


def column_statistics(rows: Any, chunk_bytes: int = 8 << 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation over the training rows: per column of a table, per channel of images.

    One pass in small chunks on the device; sums are of distances to the first chunk's mean, so that a large mean does
    not swallow a small spread.
    """
    first = rows.inputs(rows.index[:1])
    size = max(1, chunk_bytes // (4 * first[0].numel()))
    over = (0, 2, 3) if first.ndim == 4 else (0,)
    wide = torch.float32 if first.device.type == "mps" else torch.float64
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
    """A short name for the contents of X (of its paths, for files)."""
    if hasattr(X, "paths"):
        return f"{zlib.crc32(chr(10).join(map(str, X.paths)).encode()):08x}"
    if not isinstance(X, np.ndarray):
        return "lazy"
    crc = 0
    for start in range(0, len(X), 4096):
        crc = zlib.crc32(np.ascontiguousarray(X[start : start + 4096]).view(np.uint8).data, crc)
    return f"{crc:08x}"


def take_rows(data: Any, rows: np.ndarray) -> Any:
    """Some rows of an array, CSR matrix, DataFrame, list, tensor or lazy view, in the container they came in."""
    return _safe_indexing(data, rows)


def take_params(data: Any, params: Mapping[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Some rows of each parameter that has one entry per row of ``data``; the others as they are."""
    return _check_method_params(data, params, indices=rows)
