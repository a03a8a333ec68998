"""Pivot tables of stored results, as rst."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robustlabels.comparison import Row, mean_sd, measured, read_rows

RESULTS = Path(__file__).resolve().parent / "benchmarks" / "results"

Label = Callable[[Row], str]
Cell = str | tuple[str, int] | Callable[[list[Row]], str]


def stored(name: str) -> list[Row]:
    """Return the rows of a file of results."""
    return read_rows(RESULTS / f"{name}.jsonl")


@dataclass(frozen=True)
class Table:
    """Pivot table of stored rows.

    Parameters
    ----------
    file : str
        Name of the file of results.
    index : dict
        The first columns: title, and the label of a row of results. Rows with the same labels share a line.
    measures : dict
        Title and cell: the name of a measure (mean ± sd with three decimals), a pair of name and decimals, or a
        function of the rows of the cell.
    columns : callable, default=None
        Label of a row of results by which its line is spread over columns; None for one column per measure.
    where : callable, default=None
        Which rows count; None takes all.
    last : dict, default={}
        Columns at the end, as functions of all rows of a line.
    order : sequence, default=()
        Order of the labels for each column of the index: a sequence of labels, "sorted", or None for the order of the
        rows of results.
    column_order : sequence of str or "sorted", default=()
        Order of the columns.
    select : callable, default=None
        Chooses among all rows of the file, where one row alone cannot tell.
    before : str, default=""
        A paragraph above the table.
    """

    file: str
    index: Mapping[str, Label]
    measures: Mapping[str, Cell] = field(default_factory=dict)
    columns: Label | None = None
    where: Callable[[Row], bool] | None = None
    last: Mapping[str, Callable[[list[Row]], str]] = field(default_factory=dict)
    order: Sequence[Sequence[str] | str | None] = ()
    column_order: Sequence[str] | str = ()
    select: Callable[[list[Row]], list[Row]] | None = None
    before: str = ""

    def rows(self) -> list[Row]:
        """Return the rows of results that count."""
        rows = stored(self.file) if self.select is None else self.select(stored(self.file))
        return [row for row in rows if self.where is None or self.where(row)]

    def __call__(self) -> str:
        """Return the table as rst; an empty text without rows."""
        text = pivot(self, self.rows())
        return f"{self.before}\n\n{text}" if self.before and text else text


def pivot(spec: Table, rows: Iterable[Row]) -> str:
    """Return rows of results as lines and columns of means over seeds."""
    lines: dict[tuple[str, ...], dict[str, list[Row]]] = {}
    for row in rows:
        labels = tuple(label(row) for label in spec.index.values())
        lines.setdefault(labels, {}).setdefault(spec.columns(row) if spec.columns else "", []).append(row)
    if not lines:
        return ""
    columns = in_order(dict.fromkeys(column for line in lines.values() for column in line), spec.column_order)
    keys = list(lines)
    # Sorting is stable, so the last column of the index is sorted first.
    for i, order in reversed(list(enumerate(spec.order))):
        keys = (
            keys
            if order is None
            else [k for label in in_order([k[i] for k in keys], order) for k in keys if k[i] == label]
        )
    cells = [(column, title, cell) for title, cell in spec.measures.items() for column in columns]
    head = [*spec.index, *(", ".join(filter(None, (column, title))) for column, title, _ in cells), *spec.last]
    body = []
    for key in keys:
        line = lines[key]
        every = [row for its in line.values() for row in its]
        found = [show(cell, line[column]) if column in line else "" for column, _, cell in cells]
        body.append([*key, *found, *(last(every) for last in spec.last.values())])
    return table(head, body)


def in_order(labels: Iterable[str], order: Sequence[str] | str) -> list[str]:
    """Return distinct labels in the given order; labels that it does not name come last, as they are."""
    found = list(dict.fromkeys(labels))
    if order == "sorted":
        return sorted(found)
    return sorted(found, key=lambda label: order.index(label) if label in order else len(order))


def show(cell: Cell, rows: list[Row]) -> str:
    """Return the text of a cell."""
    if callable(cell):
        return cell(rows)
    name, digits = (cell, 3) if isinstance(cell, str) else cell
    return mean_sd(values(rows, name), digits)


def values(rows: Iterable[Row], name: str) -> list[float]:
    """Return what the rows measured."""
    return [value for row in rows if (value := measured(row, name)) is not None]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a list-table."""
    text = [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        text += [f"   {'* -' if i == 0 else '  -'} {cell}".rstrip() for i, cell in enumerate(row)]
    return "\n".join(text)
