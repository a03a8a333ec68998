"""The main job: read labeled data, train a robust classifier, list every row with its most probable label."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer

from robustlabels import methods
from robustlabels.datasets import load_image_folder
from robustlabels.detection import AutoNoiseDetector
from robustlabels.report.evidence import report_extra
from robustlabels.report.label_report import LabelReport
from robustlabels.report.review import DROP, format_of, read_review
from robustlabels.training.base import BaseNoisyLabelClassifier
from robustlabels.training.dynamics import fit_recorded
from robustlabels.training.inputs import take_rows

__all__ = [
    "AUTO",
    "METHODS",
    "Audit",
    "Data",
    "carry_out",
    "check_output",
    "check_writable",
    "default_method",
    "make_estimator",
    "read",
    "register",
    "reviewed",
]

METHODS = {name.lower(): method.classifier for name, method in methods.METHODS.items()}
"""Classifiers by what ``--method`` calls them."""

AUTO = "auto"
"""The method that is a detector instead of a classifier: :class:`~robustlabels.AutoNoiseDetector`."""

TABLES = (".csv", ".csv.gz", ".tsv", ".parquet")
PAGES = (".html", ".htm")


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


# --- train, and write -------------------------------------------------------------------------------------------------


def check_output(path: Path) -> None:
    """Raise, before any time is spent, unless a result of this kind can be written there.

    Parameters
    ----------
    path : Path
    """
    check_writable(path)
    if path.suffix.lower() in PAGES:
        for module in ("jinja2", "matplotlib", "PIL.Image"):
            report_extra(module)
        return
    try:
        format_of(path)
    except ValueError:
        kinds = f"{', '.join(PAGES)}, .csv, .json or .label-studio.json"
        raise ValueError(f"{path}: results are {kinds} files, by the end of their name.") from None


def check_writable(path: Path) -> None:
    """Raise unless a file can be written there.

    Parameters
    ----------
    path : Path
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a file; name a file to write to.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}; name another place.") from error


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


def default_method(data: Data, checkpoint: Path | None = None) -> str:
    """Choose the method: "auto" for numeric tables; "elr" for images or with a checkpoint, because it can be resumed.

    Parameters
    ----------
    data : Data
    checkpoint : Path or None, default=None

    Returns
    -------
    str
    """
    return AUTO if _is_table(data) and checkpoint is None else "elr"


def _is_table(data: Data) -> bool:
    return isinstance(data.X, np.ndarray) and data.X.ndim == 2


def make_estimator(
    method: str,
    data: Data,
    *,
    module: str = "auto",
    epochs: int | None = None,
    device: str = "auto",
    checkpoint: Path | None = None,
    seed: int = 0,
) -> Any:
    """An unfitted classifier, or detector, that shows its progress.

    Parameters
    ----------
    method : str
        One of METHODS, or "auto".
    data : Data
    module : str, default="auto"
    epochs : int or None, default=None
        None is the method's own default.
    device : str, default="auto"
    checkpoint : Path or None, default=None
    seed : int, default=0

    Returns
    -------
    estimator
    """
    given: dict[str, Any] = {} if epochs is None else {"max_epochs": epochs}
    if method != AUTO:
        kind = METHODS[method]
        return kind(module, device=device, checkpoint=checkpoint, random_state=seed, verbose=1, **given)
    if checkpoint is not None:
        raise ValueError("--checkpoint goes with one network, and --method auto trains two; leave one of them out.")
    detector = AutoNoiseDetector(device=device, random_state=seed)
    network = detector._trained(len(data.y), table=_is_table(data))
    network.set_params(verbose=1, **given, **({} if module == "auto" else {"module": module}))
    return detector.set_params(estimator=network)


class Audit:
    """What a classifier or detector thinks of every label; ``print`` it for a summary.

    Parameters
    ----------
    data : Data
    classifier : classifier or detector of this package
        Is fitted; a fit that was interrupted counts up to its last finished epoch.

    Attributes
    ----------
    data, classifier
        As given, the classifier fitted.
    report : :class:`~robustlabels.LabelReport`
    seconds : float
        That the fit took.
    interrupted : bool
        Whether it was.
    """

    def __init__(self, data: Data, classifier: Any) -> None:
        self.data, self.classifier = data, classifier
        self.interrupted = False
        recorded = isinstance(classifier, BaseNoisyLabelClassifier)
        fit = partial(fit_recorded, classifier) if recorded else classifier.fit
        start = time.perf_counter()
        try:
            fit(data.X, data.y)
        except KeyboardInterrupt:
            if not hasattr(classifier, "noise_scores_"):
                raise
            self.interrupted = True
        self.seconds = time.perf_counter() - start
        self.report = LabelReport.from_estimator(
            classifier,
            data.show,
            data.y,
            texts=data.texts,
            names=data.names,
            y_true=data.y_true,
            row_numbers=data.rows,
        )

    def write(self, path: Path, title: str | None = None) -> None:
        """Write the result, whole or not at all: a page, or by the file's name a list for review.

        Parameters
        ----------
        path : Path
            An ``.html``, ``.csv``, ``.json`` or ``.label-studio.json`` file.
        title : str or None, default=None
            Of the page.
        """
        try:
            if path.suffix.lower() in PAGES:
                self.report.to_html(path, title=title)
            else:
                self.report.to_review(path)
        except OSError as error:
            raise OSError(f"{path} was not written: {error.strerror or error}.") from error

    def __str__(self) -> str:
        lines = str(self.report).splitlines()
        history = self.report.beliefs.history
        n_epochs = getattr(self.classifier, "n_iter_", None if history is None else len(history))
        epochs = "" if n_epochs is None else f"{n_epochs} epochs "
        return "\n".join([*lines[:3], f"trained          {epochs}in {self.seconds:.1f} seconds", *lines[3:]])


# --- the command ------------------------------------------------------------------------------------------------------

DESCRIPTION = """\
Find wrong labels: train a network in a way that does not memorize them, and list
every row with the label the network believes in, most suspicious first."""

EXAMPLES = """\
examples:
  robustlabels audit photos/ --out report.html
      images, one subfolder a class: photos/cat/1.jpg, photos/dog/7.png ...
  robustlabels audit reviews.csv --labels sentiment --out report.html --out list.csv
      a table: numbers, categories, dates and text are encoded, gaps filled
  robustlabels audit species.parquet --labels species --id specimen --drop file
      without the columns that would give the label away
  robustlabels audit news.npz --text text --method elr+ --epochs 100
      arrays of rows or of images, saved by numpy.savez(path, X=..., y=..., text=...)
  robustlabels audit photos/ --verdicts list.csv --out second.html
      once more, with what you decided about the rows in list.csv

results, by the name of --out:
  .html               one page with pictures; needs nothing but a browser
  .csv, .json         every row, most suspicious first
  .label-studio.json  the flagged rows as tasks for Label Studio

the columns of a list:
  row          which row, counted from 0 without the header
  path, name   which image; the row's name, with --id
  given        the label in the data
  suggested    the label the network believes in
  noise_score  1 - the probability of the given label
  confidence   the probability of the suggested label
  flagged      1 where the method takes the given label for wrong, else 0
  verdict      for you to fill in: confirm (the suggested label is right),
               reject (the given one is) or drop
  label        for you to fill in: the right label, where it is neither

what to do with it: look at the rows from the top, decide what is wrong, and stop
where the given labels are right. Give the list back with --verdicts.

exit status: 0 done, 1 more noise than --fail-above, 2 error, 130 interrupted (what
was learned by then is written; with --checkpoint the same command goes on)."""


def register(commands: Any) -> None:
    """Add ``audit`` to the commands of the package.

    Parameters
    ----------
    commands : subparsers of an ArgumentParser
    """
    command = commands.add_parser(
        "audit",
        help="rank the labels of a table, of arrays or of a folder of images",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_command)
    add_arguments(command)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Everything ``audit`` is told, in three groups.

    Parameters
    ----------
    command : ArgumentParser
    """
    command.add_argument(
        "data", metavar="DATA", help="a .csv, .tsv or .parquet table, an .npz or .npy, a folder of images"
    )
    _add_data(command.add_argument_group("the data"))
    _add_training(command.add_argument_group("the training"))
    _add_result(command.add_argument_group("the result"))


def _add_data(rows: Any) -> None:
    rows.add_argument(
        "--labels", metavar="NAME", help="column of a table (required) or array (default: y) of labels; file for .npy"
    )
    rows.add_argument("--features", metavar="NAME", default="X", help="array of an .npz to learn from (default: X)")
    rows.add_argument(
        "--drop", metavar="COLUMN", action="append", default=[], help="column not to learn from; can be repeated"
    )
    rows.add_argument("--text", metavar="NAME", help="column or array of texts to show, not to learn from")
    rows.add_argument("--id", metavar="NAME", help="column or array that names the rows; not learned from")
    rows.add_argument("--truth", metavar="NAME", help="column or array of true labels, to measure with")
    rows.add_argument("--image-size", metavar="PIXELS", type=int, default=64, help="of a folder (default: 64)")
    rows.add_argument("--skip-corrupt", action="store_true", help="leave out images that cannot be read")
    rows.add_argument(
        "--verdicts",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="a list with your verdicts, applied before training; can be repeated",
    )


def _add_training(how: Any) -> None:
    how.add_argument(
        "--method",
        choices=[*METHODS, AUTO],
        metavar="NAME",
        help=(
            f"{', '.join(METHODS)}; or auto, two networks and the neighbors' vote, which ranks better but cannot be "
            "interrupted (default: auto for rows of numbers, elr for images and with --checkpoint)"
        ),
    )
    how.add_argument("--module", metavar="NAME", default="auto", help="mlp, cnn, resnet18 ... (default: auto)")
    how.add_argument("--device", default="auto", help="cpu, cuda, mps (default: auto, the fastest there is)")
    how.add_argument(
        "--checkpoint", metavar="FILE", type=Path, help="kept while training; the same command goes on from there"
    )
    add_length_and_seed(how)


def add_length_and_seed(group: Any) -> None:
    """``--epochs`` and ``--seed``, of whatever trains.

    Parameters
    ----------
    group : ArgumentParser or a group of its arguments
    """
    group.add_argument("--epochs", metavar="N", type=int, help="default: by the number of rows, at least 50")
    group.add_argument("--seed", metavar="N", type=int, default=0, help="same seed, same result (default: 0)")


def _add_result(result: Any) -> None:
    result.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        action="append",
        help="report.html, list.csv, ... see below; can be repeated (default: suspects.csv)",
    )
    result.add_argument("--title", help="of the page")
    result.add_argument(
        "--fail-above", metavar="SHARE", type=float, help="exit with 1 if more than this share of labels looks wrong"
    )


def carry_out(args: argparse.Namespace) -> Audit:
    """Read, train, write, sum up.

    Parameters
    ----------
    args : Namespace
        Of the command line.

    Returns
    -------
    Audit
    """
    outputs = args.out or [Path("suspects.csv")]
    for path in outputs:
        check_output(path)
        for read_from in (Path(args.data), *args.verdicts):
            if path.exists() and read_from.exists() and path.samefile(read_from):
                raise ValueError(f"{path} is read and would be overwritten; name another file with --out.")
    if args.checkpoint is not None:
        check_writable(args.checkpoint)
    if args.fail_above is not None and not 0 <= args.fail_above <= 1:
        raise ValueError(f"--fail-above must be a share in [0, 1], got {args.fail_above:g}.")
    data = read(
        args.data,
        labels=args.labels,
        features=args.features,
        drop=args.drop,
        text=args.text,
        id=args.id,
        truth=args.truth,
        image_size=args.image_size,
        skip_corrupt=args.skip_corrupt,
        seed=args.seed,
    )
    if args.verdicts:
        data = reviewed(data, args.verdicts)
    if data.notes:
        print("data", *data.notes, sep="\n  ")
    settings = {name: getattr(args, name) for name in ("module", "epochs", "device", "checkpoint", "seed")}
    estimator = make_estimator(args.method or default_method(data, args.checkpoint), data, **settings)
    with _one_thread() if _is_table(data) and "OMP_NUM_THREADS" not in os.environ else nullcontext():
        result = Audit(data, estimator)
    for path in outputs:
        result.write(path, args.title or f"Labels of {Path(args.data).name}")
    print(result)
    for path in outputs:
        print(f"written          {path}")
        if path.suffix.lower() == ".json" and format_of(path) == "label-studio":
            print("the labeling interface to paste into Label Studio:", result.report.label_studio_config(), sep="\n")
    if result.interrupted:
        raise KeyboardInterrupt
    return result


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: a small network gains nothing from a second, which on a busy machine costs minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _command(args: argparse.Namespace) -> int:
    """``robustlabels audit``: 1 if there is more noise than was asked for, else 0."""
    result = carry_out(args)
    noise = result.report.beliefs.noise_rate
    if args.fail_above is None or noise <= args.fail_above:
        return 0
    say("error", f"{noise:.1%} of the labels look wrong, more than {args.fail_above:.1%}.")
    return 1


def say(kind: str, message: Any) -> None:
    """One line on the standard error stream, options called what they are on the command line.

    Parameters
    ----------
    kind : str
        "warning" or "error".
    message : object
    """
    text = " ".join(str(message).split()).replace("skip_corrupt=True", "--skip-corrupt")
    print(f"robustlabels: {kind}: {text}", file=sys.stderr)
