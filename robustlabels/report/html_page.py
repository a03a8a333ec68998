"""The report as one HTML page that holds everything: no network, no script."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from robustlabels.metrics import detection_report
from robustlabels.report import displays
from robustlabels.report.drawing import Display, percent
from robustlabels.report.evidence import Column, Item, as_png_or_jpeg, data_uri, plain, report_extra, shorten
from robustlabels.report.reported_rows import ReportedRows
from robustlabels.training.beliefs import Ints

__all__ = ["SIDES", "render_page"]

PAGE_BYTES = 9_500_000
"""Largest page; a larger one is rendered again with half as many rows. Mail servers often refuse more than 10 MB."""

PICTURE_BYTES = 6_000_000
"""Most that the thumbnails take together; beyond it they are made smaller."""

SIDES = (192, 128, 96, 64)
"""Longer sides of thumbnails in pixels, in the order in which they are tried."""

MOST_CARDS = 5000
MOST_ROWS = 2000
FIRST_IMAGES, FIRST_OTHERS = 30, 12
"""Rows of the gallery that are visible at once; a click shows the others."""

FEW = 12
"""Rows shown when fewer are flagged, so that a reader sees where the right labels begin."""

OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
)
"""Fonts tried for characters that matplotlib's own font lacks, if they are installed."""


def render_page(rows: ReportedRows, *, n: int, n_listed: int, title: str | None, document: bool, version: str) -> str:
    """Render the report of some rows.

    Parameters
    ----------
    rows : ReportedRows
    n : int
        Rows in the gallery.
    n_listed : int
        Rows in the list.
    title : str or None
        None is "Label report".
    document : bool
        True renders a whole document, False the fragment that a notebook shows.
    version : str
        Of this package.

    Returns
    -------
    page : str
    """
    jinja2 = report_extra("jinja2")
    source = Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    # Class names, texts and file names come from the data and may hold HTML: autoescape turns all of it into text.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(source)
    charts = _charts(rows)
    while True:
        page = template.render(**_context(rows, n, n_listed, title), charts=charts, document=document, version=version)
        if len(page.encode()) <= PAGE_BYTES or n == 0:
            return page
        n, n_listed = n // 2, n_listed // 2


def _context(rows: ReportedRows, n: int, n_listed: int, title: str | None) -> dict[str, Any]:
    """Return all variables of the template except the charts, which do not depend on the number of rows."""
    b = rows.beliefs
    cards = _cards(rows, min(n, MOST_CARDS))
    images = any(card["uri"] for card in cards)
    return {
        "title": title or "Label report",
        "headline": _headline(rows),
        "tiles": _tiles(rows),
        "images": images,
        "cards": cards,
        "first": FIRST_IMAGES if images else FIRST_OTHERS,
        "listed": _list(rows, min(n_listed, MOST_ROWS)),
        "n": len(b),
        "method": b.method,
        "threshold": "" if b.threshold is None else f"{b.threshold:.3f}",
    }


def _headline(rows: ReportedRows) -> str:
    b = rows.beliefs
    if not b.flagged.any():
        return f"None of the {len(b):,} labels looks wrong to {b.method}."
    text = f"{b.flagged.sum():,} of {len(b):,} labels ({percent(float(b.flagged.mean()))}) look wrong to {b.method}."
    pairs = b.confusions(1)
    if pairs:
        given, suggested, count = pairs[0]
        names = [shorten(plain(b.classes[label])) for label in (given, suggested)]
        text += f" The most frequent suggestion, made {count:,} times, is to change “{names[0]}” to “{names[1]}”."
    return text


def _tiles(rows: ReportedRows) -> list[tuple[str, str]]:
    b = rows.beliefs
    tiles = [
        ("rows", f"{len(b):,}"),
        ("classes", f"{len(b.classes):,}"),
        ("flagged", f"{b.flagged.sum():,} ({percent(float(b.flagged.mean()))})"),
        ("estimated noise", rows.noise_rate()),
    ]
    if rows.measurable:
        wrong = rows.mislabeled()
        found = detection_report(b.noise_scores, wrong, noise_mask=b.flagged)
        tiles += [
            ("truly wrong", f"{wrong.sum():,} ({percent(found.true_rate)})"),
            ("precision of the flags", percent(found.precision or 0.0)),
            ("recall of the flags", percent(found.recall or 0.0)),
        ]
    return tiles


# --- the gallery and the list -----------------------------------------------------------------------------------------


def _cards(rows: ReportedRows, n: int) -> list[dict[str, Any]]:
    """Return the cards of the gallery, one for each of the most suspicious rows."""
    b = rows.beliefs
    chosen = b.ranking(min(n, max(int(b.flagged.sum()), FEW)))
    items, uris = _thumbnails(rows, chosen)
    return [_card(rows, row, item, uri) for row, item, uri in zip(chosen.tolist(), items, uris, strict=True)]


def _card(rows: ReportedRows, row: int, item: Item, uri: str) -> dict[str, Any]:
    b, picture = rows.beliefs, item.picture
    given, suggested = (shorten(plain(b.classes[labels[row]])) for labels in (b.given, b.suggested))
    number = f"row {rows.numbers[row]}"
    name = plain(rows.name(row)) if rows.key else ""
    return {
        "uri": uri,
        "alt": f"image of {number}" + (f", {shorten(name, 100)}" if rows.key else ""),
        "width": 0 if picture is None else picture.shape[1],
        "height": 0 if picture is None else picture.shape[0],
        "small": picture is not None and max(picture.shape[:2]) <= 48,
        "text": item.text,
        "columns": [_short(column) for column in item.columns],
        "given": given,
        "suggested": suggested,
        "changed": b.given[row] != b.suggested[row],
        "score": f"{b.noise_scores[row]:.3f}",
        "confidence": percent(float(b.confidence[row])),
        "flagged": bool(b.flagged[row]),
        "truth": _truth(rows, row),
        "number": number,
        "name": shorten(name, 80),
        "full_name": shorten(name, 400),
    }


def _truth(rows: ReportedRows, row: int) -> str:
    if rows.true is None:
        return ""
    b, true = rows.beliefs, rows.true[row]
    if true == b.given[row]:
        return "✗ the given label is right"
    name = shorten(plain(b.classes[true]))
    return f"✓ it is {name}" if true == b.suggested[row] else f"✓ wrong, but it is {name}"


def _thumbnails(rows: ReportedRows, chosen: Ints) -> tuple[list[Item], list[str]]:
    """Read rows and encode their pictures, at the largest side at which all of them fit into a page."""
    for side in SIDES:
        items = [rows.evidence.item(row, side) for row in chosen.tolist()]
        uris = ["" if item.picture is None else as_png_or_jpeg(item.picture) for item in items]
        if sum(map(len, uris)) <= PICTURE_BYTES:
            break
    return items, uris


def _short(column: Column) -> Column:
    name, value, given, suggested, distance = column
    return Column(shorten(name, 40), shorten(value, 40), shorten(given, 24), shorten(suggested, 24), distance)


def _list(rows: ReportedRows, n: int) -> dict[str, Any]:
    key = [rows.key] if rows.key else []
    lines = []
    for record in rows.records(rows.beliefs.ranking(n)):
        cells = [shorten(plain(record[name]), 120) for name in (*key, "given", "suggested")]
        lines.append(
            [
                record["row"],
                *cells,
                f"{record['noise_score']:.4f}",
                f"{record['confidence']:.4f}",
                "yes" if record["flagged"] else "",
            ]
        )
    return {"header": ["row", *key, "given", "suggested", "noise score", "confidence", "flagged"], "rows": lines}


# --- the charts -------------------------------------------------------------------------------------------------------


def _charts(rows: ReportedRows) -> list[dict[str, Any]]:
    """Draw every display that these rows allow, and attach its numbers as a table."""
    b = rows.beliefs
    of: list[Any] = [displays.ClassNoiseDisplay, displays.TransitionMatrixDisplay, displays.ScoreHistogramDisplay]
    if b.history is not None:
        of += [displays.LearningCurvesDisplay, displays.DatasetMapDisplay]
    drawn: list[Any] = [display.of(b) for display in of]
    if rows.measurable:
        wrong = rows.mislabeled()
        drawn += [
            displays.DetectionCurveDisplay.measured(wrong, b.noise_scores, b.flagged, kind)
            for kind in ("precision_recall", "roc")
        ]
    tables = {0: _class_table(rows), 1: _confusion_table(rows)}  # by the position of their display
    return [{**_chart(display), "table": tables.get(i)} for i, display in enumerate(drawn)]


def _class_table(rows: ReportedRows) -> dict[str, Any]:
    display = displays.ClassNoiseDisplay.of(rows.beliefs)
    lines = [
        [
            shorten(plain(display.classes[i])),
            f"{display.counts[i]:,}",
            f"{display.flagged[i]:,}",
            percent(display.shares[i]),
        ]
        for i in display.order[:200]
    ]
    return {"header": ["label", "rows", "flagged", "share"], "rows": lines}


def _confusion_table(rows: ReportedRows) -> dict[str, Any] | None:
    names = [shorten(plain(label)) for label in rows.beliefs.classes]
    lines = [[names[given], names[suggested], f"{n:,}"] for given, suggested, n in rows.beliefs.confusions(50)]
    return {"header": ["given", "suggested", "flagged rows"], "rows": lines} if lines else None


def _chart(display: Display) -> dict[str, Any]:
    """Draw a display as a PNG; its summary becomes the heading above it."""
    matplotlib = report_extra("matplotlib")
    figures = report_extra("matplotlib.figure")
    # The page must look the same whatever the user's matplotlibrc says, and drawing it must not switch the backend.
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    installed = {font.name for font in report_extra("matplotlib.font_manager").fontManager.ttflist}
    defaults["font.family"] = ["DejaVu Sans", *(font for font in OTHER_SCRIPTS if font in installed)]
    stream = io.BytesIO()
    with matplotlib.rc_context(defaults), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the alt text and the table hold what a font lacks
        figure = figures.Figure(figsize=display.figsize, layout="constrained")  # unknown to pyplot, so nothing leaks
        display.plot(figure.subplots(), title=False)
        figure.savefig(stream, format="png", dpi=200)
    image = report_extra("PIL.Image").open(stream).convert("RGB").quantize(128)  # a palette makes the file far smaller
    picture = io.BytesIO()
    image.save(picture, "png", optimize=True)
    return {
        "heading": display.summary,
        "alt": display.alt,
        "uri": data_uri("png", picture.getvalue()),
        "width": image.width // 2,  # drawn at twice the resolution, for sharp text on a phone
        "height": image.height // 2,
    }
