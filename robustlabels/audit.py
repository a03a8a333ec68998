"""The main job: read labelled data, train a robust classifier, list every row with its most probable label."""

from __future__ import annotations

import csv
import difflib
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer

from robustlabels.base import BaseNoisyLabelClassifier
from robustlabels.baselines import CoTeachingClassifier, CrossEntropyClassifier, GCEClassifier, SCEClassifier
from robustlabels.datasets import load_image_folder
from robustlabels.elr import ELRClassifier, ELRPlusClassifier
from robustlabels.moit import MOITClassifier, MOITPlusClassifier
from robustlabels.net import replace_file

__all__ = ["METHODS", "Audit", "Data", "check_writable", "read"]

METHODS: dict[str, type[BaseNoisyLabelClassifier]] = {
    "elr": ELRClassifier,
    "elr+": ELRPlusClassifier,
    "moit": MOITClassifier,
    "moit+": MOITPlusClassifier,
    "ce": CrossEntropyClassifier,
    "gce": GCEClassifier,
    "sce": SCEClassifier,
    "co-teaching": CoTeachingClassifier,
}

TABLES = (".csv", ".csv.gz", ".tsv", ".parquet")


# --- read -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """Rows to audit.

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
        As a classifier takes it.
    y : ndarray of shape (n_samples,)
        The given labels.
    names : sequence of length n_samples
        What each row is called in the result: its number, or the path of its image.
    key : {"row", "path"}, default="row"
        What kind of name that is.
    notes : tuple of str, default=()
        What was done to the data on the way.
    """

    X: Any
    y: NDArray[Any]
    names: Sequence[Any]
    key: str = "row"
    notes: tuple[str, ...] = ()


def read(
    source: str | Path,
    *,
    labels: str | None = None,
    features: str = "X",
    drop: Sequence[str] = (),
    image_size: int = 64,
    skip_corrupt: bool = False,
    seed: int = 0,
) -> Data:
    """Read a table, an ``.npz`` or a folder of images.

    Parameters
    ----------
    source : str or Path
        A CSV or Parquet file, an ``.npz`` file, or a folder with one subfolder of images a class.
    labels : str or None, default=None
        The column of a table that holds the labels; the array of an ``.npz``, "y" if None.
    features : str, default="X"
        The array of an ``.npz`` to learn from.
    drop : sequence of str, default=()
        Columns of a table not to learn from.
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
    if path.is_dir():
        images, names = load_image_folder(path, size=image_size, skip_corrupt=skip_corrupt)
        return Data(images, names, images.paths.tolist(), key="path")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.name.lower().endswith(TABLES):
        return _read_table(path, labels, drop, seed)
    if path.suffix.lower() == ".npz":
        return _read_arrays(path, features, labels or "y")
    raise ValueError(f"{path} is neither a table ({', '.join(TABLES)}) nor an .npz file nor a folder of images.")


def _read_arrays(path: Path, features: str, labels: str) -> Data:
    try:
        archive = np.load(path, allow_pickle=False)
    except (ValueError, BadZipFile) as error:
        raise ValueError(f"{path} is not an .npz file that numpy can read: {error}.") from error
    with archive as stored:
        found = {}
        for name in stored.files:
            try:
                found[name] = stored[name]
            except ValueError:  # an array of Python objects would run code when it is read
                raise ValueError(f"{path}: {name} holds Python objects; save strings as {name}.astype(str).") from None
    for name in (features, labels):
        if name not in found:
            has = ", ".join(f"{key} {array.dtype} {array.shape}" for key, array in found.items()) or "no array"
            raise ValueError(
                f"{path} has no array {name!r}; it has {has}. Choose with --features NAME and --labels NAME."
            )
    X, y = found[features], found[labels]
    if y.ndim != 1:
        raise ValueError(f"{path}: {labels} must hold one label a row, got an array of shape {y.shape}.")
    return Data(X, y, range(len(y)))


def _read_table(path: Path, labels: str | None, drop: Sequence[str], seed: int) -> Data:
    pandas, skrub = _tables("pandas"), _tables("skrub")
    suffix = path.suffix.lower()
    sep = "\t" if suffix == ".tsv" else ","
    if suffix == ".parquet":
        _tables("pyarrow")
        table = pandas.read_parquet(path).rename(columns=str)
    else:
        table = pandas.read_csv(path, sep=sep, index_col=False)
    columns = list(table.columns)
    if labels is None:
        raise ValueError(f"{path} is a table: say which column holds the labels with --labels COLUMN. {_list(columns)}")
    for name in (labels, *drop):
        if name not in columns:
            close = difflib.get_close_matches(name, columns, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{path} has no column {name!r}.{hint} {_list(columns)}")
    if suffix != ".parquet":  # labels as they stand in the file: 01 stays 01, and a class may be called NA
        table[labels] = pandas.read_csv(path, sep=sep, usecols=[labels], dtype=str, na_filter=False, index_col=False)
    y = _read_labels(path, table[labels])
    X, notes = _encode(table.drop(columns=[labels, *drop]), skrub, seed)
    return Data(X, y, range(len(y)), notes=notes)


def _read_labels(path: Path, column: Any) -> NDArray[Any]:
    """Labels as text, none missing."""
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

    A text gives at most one number per 20 rows: more of them tell every row apart, and its label is then memorised.
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


# --- train, and write -------------------------------------------------------------------------------------------------


def check_writable(path: Path) -> None:
    """Raise, before any time is spent, unless a file can be written there.

    Parameters
    ----------
    path : Path
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a file; name a file to write to with --out.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}; name another place with --out.") from error


class Audit:
    """What a classifier thinks of every label; ``print`` it for a summary.

    Parameters
    ----------
    data : Data
    classifier : classifier of this package
        Is fitted; a fit that was interrupted counts up to its last finished epoch.

    Attributes
    ----------
    data, classifier
        As given, the classifier fitted.
    seconds : float
        That the fit took.
    interrupted : bool
        Whether it was.
    """

    def __init__(self, data: Data, classifier: Any) -> None:
        self.data, self.classifier = data, classifier
        self.interrupted = False
        start = time.perf_counter()
        try:
            classifier.fit(data.X, data.y)
        except KeyboardInterrupt:
            if not hasattr(classifier, "noise_scores_"):
                raise
            self.interrupted = True
        self.seconds = time.perf_counter() - start

    def suspects(self) -> Iterator[tuple[Any, Any, Any, str, str, int]]:
        """All rows, most suspicious first: name, given and suggested label, its confidence, noise score, flagged."""
        clf, data = self.classifier, self.data
        for i in np.argsort(-clf.noise_scores_, kind="stable"):
            confidence, score = f"{clf.suggested_confidence_[i]:.6f}", f"{clf.noise_scores_[i]:.6f}"
            yield data.names[i], data.y[i], clf.suggested_labels_[i], confidence, score, int(clf.noise_mask_[i])

    def write(self, path: Path) -> None:
        """Write the rows as CSV, whole or not at all.

        Parameters
        ----------
        path : Path
        """

        def write(partial: Path) -> None:
            with partial.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow([self.data.key, "given", "suggested", "confidence", "noise_score", "flagged"])
                writer.writerows(self.suspects())

        try:
            replace_file(path, write)
        except OSError as error:
            raise OSError(f"{path} was not written: {error.strerror or error}.") from error

    def __str__(self) -> str:
        clf, y = self.classifier, self.data.y
        flagged, differ = clf.noise_mask_, clf.suggested_labels_ != y
        pairs = Counter(zip(y[differ].tolist(), clf.suggested_labels_[differ].tolist(), strict=True))
        lines = [
            f"rows             {len(y):,} in {len(clf.classes_)} classes",
            f"estimated noise  {clf.noise_rate_:.1%}",
            f"flagged          {flagged.sum():,} rows",
            f"trained          {clf.n_iter_} epochs in {self.seconds:.1f} seconds",
        ]
        if pairs:
            lines.append("top confusions   given -> suggested")
            lines += [f"{count:15,}  {given} -> {suggested}" for (given, suggested), count in pairs.most_common(5)]
        return "\n".join(lines)
