"""The data of an audit: tables, arrays and folders of images, with what a person decided about them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer

from robustlabels.datasets import load_image_folder
from robustlabels.report.review import DROP, read_review
from robustlabels.training.inputs import take_rows

__all__ = ["Data", "read", "reviewed"]

TABLES = (".csv", ".csv.gz", ".tsv", ".parquet")


@dataclass(frozen=True)
class Data:
    """Rows to audit.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        As a classifier takes it.
    y : ndarray of shape (n_samples,)
        The given labels.
    show : array-like of shape (n_samples, ...) or None, default=None
        What a person is shown of each row: its image, its entries in the table.
    texts : ndarray of shape (n_samples,) or None, default=None
        Shown instead.
    names : sequence of length n_samples or None, default=None
        What rows are called beside their number.
    y_true : ndarray of shape (n_samples,) or None, default=None
        The true labels, to measure with; never trained on.
    notes : tuple of str, default=()
        What was done to the data on the way.
    rows : ndarray of shape (n_samples,), int64, or None, default=None
        The number of each row in the source, where rows were left out.
    """

    X: Any
    y: NDArray[Any]
    show: Any = None
    texts: Any = None
    names: Sequence[Any] | None = None
    y_true: NDArray[Any] | None = None
    notes: tuple[str, ...] = ()
    rows: NDArray[np.int64] | None = None


def read(
    source: str | Path,
    *,
    labels: str | None = None,
    features: str = "X",
    drop: Sequence[str] = (),
    text: str | None = None,
    id: str | None = None,
    truth: str | None = None,
    image_size: int = 64,
    skip_corrupt: bool = False,
    seed: int = 0,
) -> Data:
    """Read a table, arrays or a folder of images.

    Parameters
    ----------
    source : str or Path
        A CSV or Parquet file, an ``.npz`` or ``.npy`` file, or a folder with one subfolder of images a class.
    labels : str or None, default=None
        The column of a table that holds the labels; the array of an ``.npz``, "y" if None; the file that goes with an
        ``.npy``.
    features : str, default="X"
        The array of an ``.npz`` to learn from.
    drop : sequence of str, default=()
        Columns of a table not to learn from.
    text, id, truth : str or None, default=None
        Columns or arrays that are not learned from: texts to show, names of the rows, and the true labels.
    image_size : int, default=64
        Side to which images in a folder are decoded.
    skip_corrupt : bool, default=False
        Leave out images that cannot be read instead of stopping.
    seed : int, default=0
        For the encoding of text.

    Returns
    -------
    Data
    """
    path = Path(source)
    beside = {"text": text, "id": id, "truth": truth}
    if path.is_dir():
        _refuse(path, "a folder of images", labels=labels, drop=drop, **beside)
        images, names = load_image_folder(path, size=image_size, skip_corrupt=skip_corrupt)
        return Data(images, names, show=images)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.name.lower().endswith(TABLES):
        return _read_table(path, labels, drop, beside, seed)
    if path.suffix.lower() == ".npz":
        _refuse(path, "an .npz file", drop=drop)
        return _read_arrays(path, features, labels or "y", beside)
    if path.suffix.lower() == ".npy":
        _refuse(path, "an .npy file", drop=drop, **beside)
        return _read_array(path, labels)
    raise ValueError(
        f"{path} is neither a table ({', '.join(TABLES)}) nor an .npz or .npy file nor a folder of images."
    )


def _refuse(path: Path, kind: str, **options: Any) -> None:
    for name, value in options.items():
        if value:
            raise ValueError(f"{path} is {kind}, which has no columns: leave --{name} out.")


def _read_array(path: Path, labels: str | None) -> Data:
    if labels is None:
        raise ValueError(f"{path} holds one array: say which file holds the labels with --labels FILE.npy.")
    X, y = (_load(file, mmap_mode="r") for file in (path, Path(labels)))
    return Data(X, _check_labels(f"{labels}", np.array(y)), show=X)


def _read_arrays(path: Path, features: str, labels: str, beside: Mapping[str, str | None]) -> Data:
    with _load(path) as stored:
        found = {}
        for name in stored.files:
            try:
                found[name] = stored[name]
            except ValueError:  # an array of Python objects would run code when it is read
                raise ValueError(f"{path}: {name} holds Python objects; save strings as {name}.astype(str).") from None
    for name in (features, labels, *filter(None, beside.values())):
        if name not in found:
            has = ", ".join(f"{key} {array.dtype} {array.shape}" for key, array in found.items()) or "no array"
            raise ValueError(
                f"{path} has no array {name!r}; it has {has}. Choose with --features NAME and --labels NAME."
            )
    texts, names, truth = (found[name] if name else None for name in beside.values())
    X, y = found[features], _check_labels(f"{path}: {labels}", found[labels])
    for name, array in (("text", texts), ("id", names), ("truth", truth)):
        if array is not None and array.shape != y.shape:
            raise ValueError(
                f"{path}: {beside[name]} must hold one entry a row like {labels}, {y.shape}, got {array.shape}."
            )
    return Data(X, y, show=X, texts=texts, names=names, y_true=truth)


def _load(path: Path, **options: Any) -> Any:
    try:
        return np.load(path, allow_pickle=False, **options)
    except (ValueError, BadZipFile, EOFError) as error:
        raise ValueError(f"{path} is not an {path.suffix} file that numpy can read: {error}.") from error


def _check_labels(where: str, y: NDArray[Any]) -> NDArray[Any]:
    if y.ndim != 1:
        raise ValueError(f"{where} must hold one label a row, got an array of shape {y.shape}.")
    return y


def _read_table(
    path: Path, labels: str | None, drop: Sequence[str], beside: Mapping[str, str | None], seed: int
) -> Data:
    pandas, skrub = _tables("pandas"), _tables("skrub")
    suffix = path.suffix.lower()
    sep = "\t" if suffix == ".tsv" else ","
    if suffix == ".parquet":
        _tables("pyarrow")
    try:
        if suffix == ".parquet":
            table = pandas.read_parquet(path).rename(columns=str)
        else:
            table = pandas.read_csv(path, sep=sep, index_col=False)
    except ValueError as error:  # raised for undecodable text, and by pandas or pyarrow
        raise ValueError(f"{path} is not a table that pandas can read: {error}.") from error
    columns = list(table.columns)
    if labels is None:
        raise ValueError(f"{path} is a table: say which column holds the labels with --labels COLUMN. {_list(columns)}")
    left_out = [labels, *drop, *filter(None, beside.values())]
    for name in left_out:
        if name not in columns:
            close = difflib.get_close_matches(name, columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{path} has no column {name!r}.{hint} {_list(columns)}")
    stand = [name for name in (labels, beside["id"], beside["truth"]) if name]
    if suffix != ".parquet":  # as they stand in the file: 01 stays 01, and a class may be called NA
        table[stand] = pandas.read_csv(path, sep=sep, usecols=stand, dtype=str, na_filter=False, index_col=False)[stand]
    y = _read_labels(path, table[labels])
    y_true = None if beside["truth"] is None else _read_labels(path, table[beside["truth"]])
    texts, names = (None if beside[key] is None else table[beside[key]].to_numpy() for key in ("text", "id"))
    shown = table.drop(columns=list(dict.fromkeys(left_out)))
    X, notes = _encode(shown, skrub, seed)
    return Data(X, y, show=shown, texts=texts, names=names, y_true=y_true, notes=notes)


def _read_labels(path: Path, column: Any) -> NDArray[Any]:
    """Labels as text, none missing."""
    if not len(column):
        raise ValueError(f"{path} is a table without rows.")
    y = column.astype(str).to_numpy(dtype=object)
    missing = np.flatnonzero(column.isna() | (y == ""))
    if missing.size:
        raise ValueError(
            f"{path}: {missing.size} row(s) have no label in column {column.name!r}, the first of them row "
            f"{missing[0]} (counted from 0); fill or remove them."
        )
    n_classes = len(set(y))
    if n_classes > max(len(y) / 2, 2):
        raise ValueError(
            f"{path}: column {column.name!r} has {n_classes} different values in {len(y)} rows, so it holds no class "
            "labels; name another one with --labels."
        )
    return y


def _encode(table: Any, skrub: Any, seed: int) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Columns of any kind as finite numbers, and what became of each.

    A text gives at most one number per 20 rows: more of them tell every row apart, and its label is then memorized.
    """
    text = skrub.StringEncoder(n_components=min(max(len(table) // 20, 2), 30), random_state=seed)
    vectorizer = skrub.TableVectorizer(drop_if_constant=True, high_cardinality=text)
    encoded = vectorizer.fit_transform(table)
    if not encoded.shape[1]:
        raise ValueError(f"no column is left to learn from: all are constant or empty. {_list(table.columns)}")
    values = encoded.to_numpy(dtype=np.float32)
    values[~np.isfinite(values)] = np.nan
    filled = SimpleImputer(strategy="median", add_indicator=True).fit_transform(values)
    return filled, tuple(_describe(vectorizer, name, table[name]) for name in table.columns)


def _describe(vectorizer: Any, name: str, column: Any) -> str:
    """Say in one line what became of a column."""
    n_missing = int(column.isna().sum())
    missing = f", {n_missing} missing" if n_missing else ""
    if name not in vectorizer.transformers_:
        return f"{name}: constant or empty, left out"
    outputs = vectorizer.input_to_outputs_[name]
    match type(vectorizer.transformers_[name]).__name__:
        case "PassThrough":
            return f"{name}: number{missing and missing + ' (median, and a column that marks them)'}"
        case "DatetimeEncoder":
            return f"{name}: date{missing} -> {', '.join(part.removeprefix(name + '_') for part in outputs)}"
        case "OneHotEncoder":
            return f"{name}: {column.nunique()} categories{missing} -> {len(outputs)} column(s) of 0 and 1"
        case _:
            return f"{name}: text{missing} -> {len(outputs)} numbers"


def _tables(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'Tables need {module}: pip install "robustlabels[tables]".') from error


def _list(columns: Iterable[str], most: int = 20) -> str:
    names = [repr(name) for name in columns]
    return f"Its columns are {', '.join(names[:most])}{f' and {len(names) - most} more' if len(names) > most else ''}."


# --- what a person decided --------------------------------------------------------------------------------------------


def reviewed(data: Data, reviews: Iterable[Path]) -> Data:
    """Data with what a person decided: right labels instead of the given ones, and dropped rows left out.

    Parameters
    ----------
    data : Data
    reviews : iterable of Path
        Files as :meth:`robustlabels.LabelReport.to_review` writes them, of these labels or of those that the files
        before it left; of two verdicts on a row the later one holds.

    Returns
    -------
    Data
    """
    classes, given = np.unique(data.y, return_inverse=True)
    verdicts: dict[int, int] = {}
    for path in reviews:
        verdicts |= read_review(path, classes, given, earlier=verdicts)
    decided = given.copy()
    decided[list(verdicts)] = list(verdicts.values())
    rows = np.flatnonzero(decided != DROP)
    note = (
        f"{len(verdicts):,} rows reviewed: {(decided[rows] != given[rows]).sum():,} labels changed, "
        f"{len(given) - len(rows):,} rows dropped"
    )
    parts = {name: getattr(data, name) for name in ("X", "show", "texts", "names", "y_true")}
    taken = {name: None if part is None else take_rows(part, rows) for name, part in parts.items()}
    return Data(y=classes[decided[rows]], rows=rows, notes=(*data.notes, note), **taken)
