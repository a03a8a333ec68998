"""A list of suspects that a person can go through, and what they made of it: CSV, JSON, Label Studio tasks.

A row is decided by its column ``label``, the right label, or by its column ``verdict``: "confirm" (the given label is
wrong, the suggested one right), "reject" (the given label is right) or "drop" (neither). Both empty: undecided.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from robustlabels.training.beliefs import Beliefs, Ints
from robustlabels.training.files import replace_file

__all__ = ["DROP", "FORMATS", "format_of", "label_studio_config", "read_review", "write_review"]

DROP = -1
"""In place of a class number: this row is not to be used."""

VERDICTS = ("confirm", "reject", "drop")
FORMATS = ("csv", "json", "label-studio")


def format_of(path: str | os.PathLike[str]) -> str:
    """Read the format off a file's name.

    Examples
    --------
    >>> from robustlabels.report.review import format_of
    >>> format_of("review.csv"), format_of("review.json"), format_of("tasks.label-studio.json")
    ('csv', 'json', 'label-studio')
    """
    name = Path(path).name.lower()
    if name.endswith(("label-studio.json", "labelstudio.json", "label_studio.json")):
        return "label-studio"
    for format in ("csv", "json"):
        if name.endswith(f".{format}"):
            return format
    raise ValueError(f"{os.fspath(path)}: a review is a .csv, a .json or a .label-studio.json file.")


# --- write ------------------------------------------------------------------------------------------------------------


def write_review(
    path: Path, format: str, records: Iterable[Mapping[str, Any]], shown: Iterable[Mapping[str, Any]]
) -> None:
    """Write records, whole or not at all.

    Parameters
    ----------
    path : Path
    format : {"csv", "json", "label-studio"}
    records : iterable of mappings
        With "row", "given", "suggested", "noise_score", "confidence" and "flagged".
    shown : iterable of mappings
        What Label Studio shows of the same rows; not asked for other formats.
    """

    def write(partial: Path) -> None:
        with partial.open("w", newline="" if format == "csv" else None, encoding="utf-8") as stream:
            match format:
                case "csv":
                    _write_csv(stream, records)
                case "json":
                    _write_json(stream, ({**record, "verdict": None, "label": None} for record in records))
                case "label-studio":
                    _write_json(stream, map(_task, records, shown))
                case _:
                    raise ValueError(
                        f"format must be 'auto' or one of {', '.join(map(repr, FORMATS))}, got {format!r}."
                    )

    replace_file(path, write)


def _write_csv(stream: Any, records: Iterable[Mapping[str, Any]]) -> None:
    writer = csv.writer(stream)
    for i, record in enumerate(records):
        if i == 0:
            writer.writerow([*record, "verdict", "label"])
        row = dict(record, noise_score=f"{record['noise_score']:.6f}", confidence=f"{record['confidence']:.6f}")
        writer.writerow([*(int(v) if isinstance(v, bool) and k == "flagged" else v for k, v in row.items()), "", ""])


def _write_json(stream: Any, records: Iterable[Mapping[str, Any]]) -> None:
    """A list with an entry a line, so that millions of them are never in memory together."""
    stream.write("[")
    for i, record in enumerate(records):
        stream.write(",\n" if i else "\n")
        stream.write(json.dumps(record, ensure_ascii=False))
    stream.write("\n]\n")


def _task(record: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """One task: what is shown, and the suggested label as a prediction to start from."""
    choice = {
        "from_name": "label",
        "to_name": "item",
        "type": "choices",
        "value": {"choices": [str(record["suggested"])]},
    }
    prediction = {"model_version": "robustlabels", "score": record["confidence"], "result": [choice]}
    return {"data": {**record, **shown}, "predictions": [prediction]}


def label_studio_config(kind: str, classes: Iterable[Any]) -> str:
    """The labeling interface that goes with the tasks: paste it into the project's settings.

    Parameters
    ----------
    kind : {"images", "texts", "columns", "nothing"}
        What is shown of a row.
    classes : iterable

    Returns
    -------
    xml : str

    Examples
    --------
    >>> from robustlabels.report.review import label_studio_config
    >>> print(label_studio_config("texts", ["good", "bad"]))
    <View>
      <Text name="item" value="$text"/>
      <Header value="Given: $given. Suggested: $suggested. What is right?"/>
      <Choices name="label" toName="item" choice="single-radio">
        <Choice value="good"/>
        <Choice value="bad"/>
      </Choices>
    </View>
    """
    shown = {
        "images": '<Image name="item" value="$image"/>',
        "columns": '<Table name="item" value="$columns"/>',
    }.get(kind, '<Text name="item" value="$text"/>')
    choices = "\n".join(f"    <Choice value={quoteattr(str(label))}/>" for label in classes)
    return (
        f'<View>\n  {shown}\n  <Header value="Given: $given. Suggested: $suggested. What is right?"/>\n'
        f'  <Choices name="label" toName="item" choice="single-radio">\n{choices}\n  </Choices>\n</View>'
    )


# --- read -------------------------------------------------------------------------------------------------------------


def read_review(
    path: Path,
    classes: NDArray[Any],
    given: Ints,
    row_numbers: Ints | None = None,
    *,
    earlier: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """What a person decided.

    Parameters
    ----------
    path : Path
        A file that :func:`write_review` wrote and a person filled in, or Label Studio's export of its tasks.
    classes : ndarray of shape (n_classes,)
    given : ndarray of shape (n_samples,), int64
        The labels it is about, as numbers into ``classes``.
    row_numbers : ndarray of shape (n_samples,), int64, or None, default=None
        What the rows are called there; None counts them from 0.
    earlier : mapping of int to int or None, default=None
        What earlier reviews decided: a list made after them has those labels in its column ``given``.

    Returns
    -------
    verdicts : dict of int to int
        The right class, or DROP, of each row that was decided, by its place in ``given``.
    """
    names = [str(label) for label in classes.tolist()]
    numbers = {name: number for number, name in enumerate(names)}
    places = {
        int(number): place for place, number in enumerate(range(len(given)) if row_numbers is None else row_numbers)
    }
    verdicts: dict[int, int] = {}
    for where, record in _records(path):
        number = _row(where, record)
        if number not in places:
            raise ValueError(
                f"{where}: row {number} is not one of the {len(given):,} rows that are reviewed here; remove the line, "
                "or pass the review of these data."
            )
        row = places[number]
        labels = [int(given[row]), (earlier or {}).get(row, DROP)]
        stood = _given_in(where, record, number, labels, names)
        decided = _decided(where, record, stood, numbers)
        if decided is not None and verdicts.setdefault(row, decided) != decided:
            raise ValueError(
                f"{where}: row {number} has two different verdicts in this file; leave only one of the two lines."
            )
    return verdicts


def _given_in(where: str, record: Mapping[str, Any], number: int, labels: Sequence[int], names: Sequence[str]) -> int:
    """Return the label that the row had when the list was written; an error if it never had the one stated there."""
    stated = _text(record.get("given"))
    for label in labels:
        if label != DROP and stated in ("", names[label].strip()):
            return label
    raise ValueError(
        f"{where}: row {number} has the given label {stated!r} in the review but {names[labels[0]]!r} in the data; the "
        "review belongs to other data, or the labels have changed since it was written."
    )


def _decided(where: str, record: Mapping[str, Any], given: int, numbers: Mapping[str, int]) -> int | None:
    """Return the class that a record decides on, DROP, or None if a person left it undecided."""
    label, verdict = _text(record.get("label")), _text(record.get("verdict")).lower()
    if label:
        return _class(where, record["label"], numbers)
    match verdict:
        case "":
            return None
        case "confirm":
            return _class(where, record.get("suggested"), numbers)
        case "reject":
            return given
        case "drop":
            return DROP
    raise ValueError(
        f"{where}: the verdict must be empty or one of {', '.join(VERDICTS)}, got {verdict!r}; write the right label "
        "into the column 'label' if neither label is right."
    )


def _class(where: str, label: Any, numbers: Mapping[str, int]) -> int:
    """The number of a class by its name; spaces around it count only where they must."""
    name = str(label)
    if name in numbers:
        return numbers[name]
    trimmed = {known.strip(): number for known, number in numbers.items()}
    if name.strip() in trimmed:
        return trimmed[name.strip()]
    close = difflib.get_close_matches(name, numbers, n=1)
    hint = f", did you mean {close[0]!r}?" if close else f"; they are {_some(numbers)}."
    raise ValueError(f"{where}: {name!r} is not one of the classes{hint}")


def _some(names: Iterable[str], most: int = 10) -> str:
    names = list(names)
    return ", ".join(map(repr, names[:most])) + (" …" if len(names) > most else "")


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _row(where: str, record: Mapping[str, Any]) -> int:
    text = _text(record.get("row"))
    if not text.isdecimal():
        raise ValueError(f"{where}: there must be a row number in the column 'row', got {text!r}.")
    return int(text)


def _records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records of any format, each with the place it is at."""
    try:
        yield from _read_records(path)
    except UnicodeDecodeError as error:
        raise ValueError(
            f'{path} is not UTF-8 text ({error}); save it in that encoding, for instance as "CSV UTF-8".'
        ) from error


def _read_records(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if format_of(path) == "csv":
        with path.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets put a mark at the start
            head = stream.readline()
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=max(",;\t", key=head.count))
            if "row" not in (reader.fieldnames or ()):
                raise ValueError(f"{path} is not a review file: it has no column 'row'.")
            for record in reader:
                yield f"{path}, line {reader.line_num}", record
        return
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path} is not a review file: it must hold a list of records.")
    for i, entry in enumerate(entries):
        yield f"{path}, entry {i}", _from_task(entry) if isinstance(entry.get("data"), dict) else entry


def _from_task(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of an exported task: the choice of most of those who annotated it; without a majority undecided."""
    votes: Counter[str] = Counter()
    for annotation in task.get("annotations") or ():
        if annotation.get("was_canceled"):
            continue
        for result in annotation.get("result") or ():
            if result.get("type") == "choices" and result.get("from_name") == "label":
                votes.update(result["value"]["choices"][:1])
    (first, most), (_, second) = (*votes.most_common(2), ("", 0), ("", 0))[:2]
    return {**task["data"], "verdict": None, "label": first if most > second else None}


def decide(
    beliefs: Beliefs,
    verdicts: Mapping[int, int],
    *,
    relabel_above: float | None,
    drop_above: float | None,
    min_per_class: int,
) -> tuple[Ints, Ints]:
    """The label of every row after verdicts and thresholds, and which rows a class needs back.

    Parameters
    ----------
    beliefs : Beliefs
    verdicts : mapping of int to int
        Of a person: they come first, and stand.
    relabel_above, drop_above : float or None
        Flagged rows whose suggestion is more confident than this get the suggested label; others whose score is higher
        than this are dropped.
    min_per_class : int
        Rows a class keeps, as far as it has them: of its given rows, the least suspicious stay as they are.

    Returns
    -------
    decided : ndarray of shape (n_samples,), int64
        Class numbers, or DROP.
    restored : ndarray of shape (n_restored,), int64
        Rows that a threshold would have changed.
    """
    decided = beliefs.given.copy()
    changed = beliefs.given != beliefs.suggested
    if drop_above is not None:
        decided[beliefs.noise_scores > drop_above] = DROP
    if relabel_above is not None:
        sure = beliefs.flagged & changed & (beliefs.confidence > relabel_above)
        decided[sure] = beliefs.suggested[sure]
    rows = np.fromiter(verdicts, dtype=np.int64, count=len(verdicts))
    decided[rows] = np.fromiter(verdicts.values(), dtype=np.int64, count=len(verdicts))
    restored: list[int] = []
    by_threshold = decided != beliefs.given
    by_threshold[rows] = False
    while len(back := _wanted_back(beliefs, decided, by_threshold, min_per_class)):
        decided[back] = beliefs.given[back]
        by_threshold[back] = False
        restored += back.tolist()
    return decided, np.array(restored, dtype=np.int64)


def _wanted_back(beliefs: Beliefs, decided: Ints, by_threshold: Any, min_per_class: int) -> Ints:
    """Rows of the first class that has too few left, the least suspicious; none where no class can be helped."""
    left = np.bincount(decided[decided != DROP], minlength=len(beliefs.classes))
    for label in np.flatnonzero(left < min_per_class):
        candidates = np.flatnonzero(by_threshold & (beliefs.given == label))
        if candidates.size:
            order = np.argsort(beliefs.noise_scores[candidates], kind="stable")
            return candidates[order[: min_per_class - left[label]]]
    return np.empty(0, dtype=np.int64)
