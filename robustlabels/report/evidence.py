"""What a person is shown of a row: a small picture, a text, or the columns that are unusual for its label.

Only the rows that are shown are read. Pillow and pandas are imported when a picture, or a table of theirs, is met.
"""

from __future__ import annotations

import base64
import io
import math
import mimetypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from robustlabels.training.beliefs import Beliefs
from robustlabels.training.inputs import read_layout

__all__ = [
    "Column",
    "Evidence",
    "Item",
    "as_png_or_jpeg",
    "data_uri",
    "find_evidence",
    "plain",
    "report_extra",
    "shorten",
]

Picture = NDArray[np.uint8]

SAMPLE = 256
"""Images that are looked at to find the range of their values."""

CLASS_SAMPLE = 2000
"""Rows of a class that are looked at to find what is usual in it."""

N_COLUMNS = 5
TEXT_LENGTH = 600
NAME_LENGTH = 60


class Column(NamedTuple):
    """One entry of a row.

    Attributes
    ----------
    name, value : str
    given, suggested : str
        What is usual in the class of the given and of the suggested label: a median, or the most frequent category.
    distance : float
        From what is usual in the given class, in robust standard deviations.
    """

    name: str
    value: str
    given: str
    suggested: str
    distance: float


@dataclass(frozen=True, eq=False)
class Item:
    """One row as a person sees it.

    Parameters
    ----------
    picture : ndarray of shape (height, width) or (height, width, 3), uint8, or None
    text : str
    columns : tuple of Column
    """

    picture: Picture | None = None
    text: str = ""
    columns: tuple[Column, ...] = ()


class Evidence(Protocol):
    """Shows rows. ``kind`` is "images", "texts", "columns" or "nothing"."""

    kind: str

    def item(self, row: int, side: int) -> Item:
        """Read one row; pictures get a longer side of at most ``side`` pixels."""


def report_extra(module: str) -> Any:
    """Import what a report needs, or say how to get it."""
    try:
        return import_module(module)
    except ImportError as error:
        needed = module.partition(".")[0].replace("PIL", "pillow")
        raise ImportError(f'Reports need {needed}: pip install "robustlabels[report]".') from error


def plain(value: Any) -> str:
    r"""Any value on one line.

    Examples
    --------
    >>> from robustlabels.report.evidence import plain
    >>> plain("one\n two"), plain(0.123456), plain(None)
    ('one two', '0.1235', 'None')
    """
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return " ".join(printable(value).split())


def printable(value: Any) -> str:
    """Any value as text that can be written: the bytes of a file name that are no text become question marks."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def shorten(text: str, length: int = NAME_LENGTH) -> str:
    """Cut the middle out of a long text.

    Examples
    --------
    >>> from robustlabels.report.evidence import shorten
    >>> shorten("a long name of a class", 11)
    'a lon…class'
    """
    if len(text) <= length:
        return text
    return text[: length // 2] + "…" + text[len(text) - (length - length // 2 - 1) :]


def find_evidence(
    X: Any, beliefs: Beliefs, *, texts: Any = None, channels: str = "auto", feature_names: Any = None
) -> Evidence:
    """Choose how rows are shown.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...) or None
        A table; images in any container a classifier takes; paths of images; texts; arrays or Pillow images of
        different sizes; None shows labels alone.
    beliefs : Beliefs
        Of the same rows.
    texts : array-like of str or None, default=None
        Shown instead of X.
    channels : {"auto", "first", "last"}, default="auto"
        Where arrays of images keep their channels.
    feature_names : sequence of str or None, default=None
        Columns of a table without names of its own.

    Returns
    -------
    Evidence
    """
    _check_lengths(len(beliefs), X=X, texts=texts)
    if texts is not None:
        return _Texts(texts)
    if X is None or len(beliefs) == 0:
        return _Nothing()
    if scipy.sparse.issparse(X):
        return _SparseTable(X.tocsr(), beliefs, _names(feature_names, X.shape[1]))
    if hasattr(X, "paths"):
        return _Images(X.paths, _open, paths=X.paths)
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return _Table(_frame_columns(X), beliefs)
    if hasattr(X, "iloc"):
        X = X.to_numpy()
    if _is_ragged(X):
        return _of_objects(X)
    return _of_array(X if hasattr(X, "shape") else np.asarray(X), beliefs, channels, feature_names)


def _check_lengths(n_labels: int, **arguments: Any) -> None:
    for name, rows in arguments.items():
        if rows is not None:
            n = rows.shape[0] if hasattr(rows, "shape") else len(rows)
            if n != n_labels:
                raise ValueError(
                    f"{name} has {n:,} rows, but y has {n_labels:,} labels; pass the rows that the estimator was "
                    "fitted on."
                )


def _of_objects(X: Any) -> Evidence:
    """Show a sequence whose entries are paths, texts, or images of different sizes."""
    first = [X[i] for i in range(min(len(X), 10))]
    if all(isinstance(value, os.PathLike) or _is_image_name(value) for value in first):
        return _Images(X, _open, paths=X)
    if all(isinstance(value, str) for value in first):
        return _Texts(X)
    return _Images(X, _Scale(X, "auto"))


def _of_array(X: Any, beliefs: Beliefs, channels: str, feature_names: Any) -> Evidence:
    """Show an array or a tensor: a stack of images, or a table."""
    if len(X.shape) in (3, 4):
        return _Images(X, _Scale(X, read_layout(X, "cnn", channels)))
    if len(X.shape) != 2:
        raise ValueError(
            f"rows of shape {tuple(X.shape[1:])} cannot be shown; pass images, texts or a table of the same rows as X, "
            "or X=None to show the labels alone."
        )
    X, names = np.asarray(X), _names(feature_names, X.shape[1])
    if X.dtype.kind in "biufc":
        return _Table([_Values(name, column) for name, column in zip(names, X.T, strict=True)], beliefs)
    # Strings among the entries: let pandas find the type of each column, as in a data frame.
    return _Table(_frame_columns(report_extra("pandas").DataFrame(X, columns=names).infer_objects()), beliefs)


def _is_ragged(X: Any) -> bool:
    """Whether X is a sequence of things of their own: paths, texts, arrays of any size, Pillow images."""
    if hasattr(X, "shape"):
        return len(X.shape) == 1
    first = X[0]
    array = hasattr(first, "__array_interface__") or hasattr(first, "detach")
    return isinstance(first, (str, os.PathLike)) or (array and getattr(first, "ndim", 2) > 1)


def _is_image_name(value: Any) -> bool:
    kind = mimetypes.guess_type(value)[0] if isinstance(value, str) and "\n" not in value else None
    return (kind or "").startswith("image/")


def _names(names: Any, n: int) -> list[str]:
    return [f"column {i}" for i in range(n)] if names is None else [plain(name) for name in names]


# --- nothing, and texts -----------------------------------------------------------------------------------------------


class _Nothing:
    kind = "nothing"

    def item(self, row: int, side: int) -> Item:
        return Item()


class _Texts:
    kind = "texts"

    def __init__(self, texts: Any) -> None:
        self.texts = texts.to_numpy() if hasattr(texts, "iloc") else texts

    def item(self, row: int, side: int) -> Item:
        text = plain(self.texts[row])
        return Item(text=text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH].rstrip() + " …")


# --- images -----------------------------------------------------------------------------------------------------------


class _Images:
    kind = "images"

    def __init__(self, rows: Any, read: Callable[[Any, int], Picture], paths: Any = None) -> None:
        self.rows, self.read, self.paths = rows, read, paths

    def item(self, row: int, side: int) -> Item:
        try:
            return Item(picture=self.read(self.rows[row], side))
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises on a damaged or missing file
            return Item(text=f"cannot be shown: {plain(error)}")


def _open(path: Any, side: int) -> Picture:
    """A file, upright, at most ``side`` pixels wide and high, gray or in colors."""
    pil, ops = report_extra("PIL.Image"), report_extra("PIL.ImageOps")
    try:
        with pil.open(path) as image:
            image.draft(None, (2 * side, 2 * side))  # a large JPEG is decoded at a fraction of its size
            return _thumbnail(_in_eight_bits(ops.exif_transpose(image), pil), side, pil)
    except pil.DecompressionBombError as error:
        raise OSError(str(error)) from error


def _in_eight_bits(image: Any, pil: Any) -> Any:
    """A Pillow image of any mode as gray or RGB; what is transparent becomes white."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        return pil.fromarray(_stretch(values, *_range(values)))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        return pil.alpha_composite(pil.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _thumbnail(image: Any, side: int, pil: Any) -> Picture:
    """Scale down, never up."""
    longest = max(image.size)
    if longest > side:
        size = tuple(max(1, round(length * side / longest)) for length in image.size)
        image = image.resize(size, pil.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(image)


def _to_colors(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """One image of any layout as (h, w) or (h, w, 3)."""
    if array.ndim == 2:
        return array
    if array.ndim != 3:
        raise ValueError(f"an array of shape {array.shape} is not an image")
    last = layout == "channels_last" or (
        layout == "auto" and array.shape[-1] in (1, 3, 4) and array.shape[0] not in (1, 3)
    )
    if not last:
        array = np.moveaxis(array, 0, -1)  # (c, h, w) -> (h, w, c)
    return array[..., :3] if array.shape[-1] >= 3 else array[..., 0]


class _Scale:
    """Arrays of any type to bytes, all by the same range: of some images spread over the whole."""

    def __init__(self, rows: Any, layout: str) -> None:
        self.layout = layout
        n = len(rows)
        some = [_to_colors(_array(rows[int(i)]), layout) for i in np.linspace(0, n - 1, min(n, SAMPLE))]
        self.low, self.high = _range(np.concatenate([np.ravel(array) for array in some]))

    def __call__(self, row: Any, side: int) -> Picture:
        pil = report_extra("PIL.Image")
        pixels = _stretch(_to_colors(_array(row), self.layout), self.low, self.high)
        return _thumbnail(pil.fromarray(pixels), side, pil)


def _array(row: Any) -> NDArray[Any]:
    return row.detach().cpu().numpy() if hasattr(row, "detach") else np.asarray(row)


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """Which values are black and white: as the type says, or as few values as there are; standardized ones by rank."""
    if values.dtype == bool:
        return 0.0, 1.0
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    if low < 0:
        low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5)))
        return low, max(high, low + 1e-12)
    if values.dtype.kind == "f" and high <= 1:
        return 0.0, 1.0
    return 0.0, 255.0 if 128 <= high <= 255 else max(high, 1e-12)


def _stretch(values: NDArray[Any], low: float, high: float) -> Picture:
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return np.ascontiguousarray(values)
    scaled = (np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low) - low) * (255 / (high - low))
    return np.clip(scaled.round(), 0, 255).astype(np.uint8)


def as_png_or_jpeg(picture: Picture) -> str:
    """A picture as a data URI: PNG where it is small or smaller so, JPEG otherwise.

    Parameters
    ----------
    picture : ndarray of shape (height, width) or (height, width, 3), uint8

    Returns
    -------
    uri : str
        ``data:image/…;base64,…``

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.report.evidence import as_png_or_jpeg
    >>> as_png_or_jpeg(np.zeros((8, 8), np.uint8))[:22]
    'data:image/png;base64,'
    """
    image = report_extra("PIL.Image").fromarray(picture)
    kinds = {}
    for kind, options in ("png", {"optimize": True}), ("jpeg", {"quality": 82, "optimize": True}):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        kinds[kind] = stream.getvalue()
        if max(image.size) <= 40:
            break  # artifacts would be seen
    kind = min(kinds, key=lambda name: len(kinds[name]))
    return data_uri(kind, kinds[kind])


def data_uri(kind: str, content: bytes) -> str:
    """An image's bytes as an address that holds them."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


# --- tables -----------------------------------------------------------------------------------------------------------


class _Values:
    """A column of numbers: its median in a class, and the distance from it in robust standard deviations."""

    def __init__(self, name: str, values: Any, show: Callable[[Any], str] = plain) -> None:
        self.name, self.values, self.show = name, values, show

    def usual(self, rows: NDArray[np.int64]) -> tuple[float, float]:
        """Median, and 1.4826 times the median absolute deviation, or where that is 0, 1.2533 times the mean one."""
        values = np.asarray(self.values[rows], dtype=np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            return math.nan, 0.0
        middle = float(np.median(values))
        deviations = np.abs(values - middle)
        return middle, float(1.4826 * np.median(deviations) or 1.2533 * np.mean(deviations))

    def distance(self, row: int, usual: tuple[float, float]) -> float:
        middle, scale = usual
        value = float(self.values[row])
        if not (math.isfinite(value) and math.isfinite(middle)):
            return 0.0 if math.isnan(value) and math.isnan(middle) else 3.0
        if value == middle:
            return 0.0
        return min(abs(value - middle) / scale, 99.0) if scale > 0 else 99.0

    def value(self, row: int) -> str:
        value = self.values[row]
        return self.show(value) if value == value else "missing"

    def describe(self, usual: tuple[float, float]) -> str:
        return self.show(usual[0]) if math.isfinite(usual[0]) else "missing"


class _Categories:
    """A column of categories: its most frequent one in a class, and how much rarer the row's is.

    The distance is in the units of numbers: the z at which a normal density is as much lower than at its top.
    """

    def __init__(self, name: str, values: NDArray[Any]) -> None:
        self.name, self.values = name, values

    def usual(self, rows: NDArray[np.int64]) -> dict[str, int]:
        names, counts = np.unique(self.values[rows], return_counts=True)
        return {names[i]: int(counts[i]) for i in np.argsort(-counts, kind="stable")}

    def distance(self, row: int, usual: dict[str, int]) -> float:
        most = max(usual.values(), default=0)
        return math.sqrt(2 * math.log((most + 0.5) / (usual.get(self.values[row], 0) + 0.5)))

    def value(self, row: int) -> str:
        return plain(self.values[row])

    def describe(self, usual: dict[str, int]) -> str:
        return plain(next(iter(usual), ""))


class _Table:
    """Rows of a table: texts in full, and the columns that are most unusual among rows with the same label."""

    kind = "columns"

    def __init__(self, columns: Sequence[Any], beliefs: Beliefs) -> None:
        self.texts = [column for column in columns if isinstance(column, _Words)]
        self.columns = [column for column in columns if not isinstance(column, _Words)]
        self.beliefs = beliefs
        self.usual: dict[int, list[Any]] = {}

    def in_class(self, label: int) -> list[Any]:
        """What is usual in a class, asked once: of the rows whose label nobody doubts, where there are five or more."""
        if label not in self.usual:
            rows = _rows_of_class(self.beliefs, label)
            self.usual[label] = [column.usual(rows) for column in self.columns]
        return self.usual[label]

    def item(self, row: int, side: int) -> Item:
        given, suggested = (self.in_class(int(labels[row])) for labels in (self.beliefs.given, self.beliefs.suggested))
        distances = np.array([column.distance(row, usual) for column, usual in zip(self.columns, given, strict=True)])
        shown = []
        for i in np.argsort(-distances, kind="stable")[:N_COLUMNS]:
            column = self.columns[i]
            usual = column.describe(given[i]), column.describe(suggested[i])
            shown.append(Column(column.name, column.value(row), *usual, float(distances[i])))
        texts = [
            f"{column.name}: {column.value(row)}" if len(self.texts) > 1 else column.value(row) for column in self.texts
        ]
        return Item(text=" · ".join(texts), columns=tuple(shown))


class _SparseTable:
    """Rows of a sparse table: among the columns that are not zero, the most unusual."""

    kind = "columns"

    def __init__(self, X: Any, beliefs: Beliefs, names: list[str]) -> None:
        self.X, self.beliefs, self.names = X, beliefs, names
        self.parts: dict[int, Any] = {}

    def in_class(self, label: int) -> Any:
        """Some rows of a class."""
        if label not in self.parts:
            self.parts[label] = self.X[_rows_of_class(self.beliefs, label)].tocsc()
        return self.parts[label]

    def item(self, row: int, side: int) -> Item:
        columns = self.X[[row]].indices
        given, suggested = (
            self.in_class(int(labels[row]))[:, columns].toarray()
            for labels in (self.beliefs.given, self.beliefs.suggested)
        )
        value = self.X[[row]].toarray()[0, columns]
        spread = given.std(axis=0)
        off = np.abs(value - given.mean(axis=0))
        distance = np.where(spread > 0, off / np.where(spread > 0, spread, 1), np.where(off > 0, 99.0, 0.0))
        shown = [
            Column(
                self.names[columns[i]],
                plain(float(value[i])),
                plain(float(given[:, i].mean())),
                plain(float(suggested[:, i].mean())),
                float(min(distance[i], 99.0)),
            )
            for i in np.argsort(-distance, kind="stable")[:N_COLUMNS]
        ]
        return Item(columns=tuple(shown))


def _rows_of_class(beliefs: Beliefs, label: int) -> NDArray[np.int64]:
    labeled = beliefs.given == label
    rows = np.flatnonzero(labeled & ~beliefs.flagged)
    rows = rows if len(rows) >= 5 else np.flatnonzero(labeled)
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), CLASS_SAMPLE)).astype(np.int64)]


class _Words:
    """A column of texts, too many different ones to be categories."""

    def __init__(self, name: str, values: NDArray[Any]) -> None:
        self.name, self.values = name, values

    def value(self, row: int) -> str:
        text = plain(self.values[row])
        return text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH].rstrip() + " …"


def _frame_columns(table: Any) -> list[Any]:
    """The columns of a data frame by their kind."""
    types = report_extra("pandas.api.types")
    columns: list[Any] = []
    for position, label in enumerate(table.columns):
        column, name = table.iloc[:, position], plain(label)
        if types.is_bool_dtype(column) or isinstance(column.dtype, report_extra("pandas").CategoricalDtype):
            columns.append(_Categories(name, _as_words(column)))
        elif types.is_numeric_dtype(column):
            columns.append(_Values(name, column.to_numpy(dtype=np.float64, na_value=np.nan)))
        elif types.is_datetime64_any_dtype(column):
            days = column.to_numpy(dtype="datetime64[s]")
            seconds = np.where(np.isnat(days), np.nan, days.astype(np.int64))
            columns.append(_Values(name, seconds, _date))
        else:
            words = _as_words(column)
            some = words[np.linspace(0, len(words) - 1, min(len(words), CLASS_SAMPLE)).astype(np.int64)]
            texts = len(set(some)) > len(some) / 2 and np.mean([len(text) for text in some]) > 20
            columns.append((_Words if texts else _Categories)(name, words))
    return columns


def _date(seconds: Any) -> str:
    return str(np.datetime64(int(seconds), "s")).removesuffix("T00:00:00")


def _as_words(column: Any) -> NDArray[Any]:
    return column.astype(object).where(column.notna(), "missing").astype(str).to_numpy(dtype=object)
