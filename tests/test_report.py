"""The report: ranked as by hand, one page that holds everything and runs nothing, decisions that can be taken back."""

import csv
import json
import pickle
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robustlabels import ELRClassifier, LabelReport, fit_recorded
from robustlabels.report import html_page

EVIL = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(2)" x="',
    "'><img src=x onerror=alert(3)>",
    "</title></style><script>alert(4)</script>",
    "{{ 7 * 7 }}{% for x in y %}",
    "$\\frac{$ &lt;b&gt; javascript:alert(5)",
]


TAGS = (
    "html head meta title body main div style header footer section h1 h2 h3 p b dl dt dd figure figcaption img "
    "blockquote table thead tbody tr th td span details summary wbr"
)


def fitted(y, suggested, scores, *, confidence=None, flagged=None, **more):
    """What a fitted detector carries, without one."""
    y, suggested = np.asarray(y), np.asarray(suggested)
    classes = np.unique(np.concatenate([y, suggested]))
    k = len(classes)
    return SimpleNamespace(
        classes_=classes,
        noise_scores_=np.asarray(scores, dtype=np.float32),
        noise_mask_=(y != suggested) if flagged is None else np.asarray(flagged),
        noise_rate_=float((y != suggested).mean()),
        suggested_labels_=suggested,
        suggested_confidence_=np.asarray(scores if confidence is None else confidence, dtype=np.float32),
        transition_matrix_=np.full((k, k), 1 / k),
        **more,
    )


@pytest.fixture
def five():
    """Five rows, two of them suspects."""
    y = np.array(["cat", "cat", "dog", "dog", "dog"])
    suggested = np.array(["cat", "dog", "dog", "dog", "cat"])
    return fitted(y, suggested, [0.1, 0.9, 0.2, 0.1, 0.8], confidence=[0.9, 0.95, 0.8, 0.9, 0.6]), y


@pytest.fixture(scope="module")
def digits_report(digits):
    X, y, _, _, _ = digits
    clf = fit_recorded(ELRClassifier(max_epochs=8, random_state=0), X, y)
    return clf, X, y


class Page(HTMLParser):
    """Every element of a page with its attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def assert_inert(page):
    """No script, no network: nothing in the page loads or runs anything."""
    parsed = Page(page)
    attributes = {"class", "alt", "width", "height", "title", "scope", "dir", "aria-hidden", "lang", "style"}
    for tag, attrs in parsed.elements:
        assert tag in TAGS.split()
        if tag == "img":
            assert attrs.pop("src").startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
            assert attrs["alt"]
        if tag != "meta":
            assert set(attrs) <= attributes, (tag, attrs)
    assert [attrs["style"] for _, attrs in parsed.elements if "style" in attrs] in (["margin:0;background:#fff"], [])
    assert "url(" not in page
    assert "@import" not in page
    return parsed


def test_a_card_says_what_is_true_and_breaks_paths_where_a_reader_would():
    y = np.array(["cat", "dog", "owl", "cat"])
    estimator = fitted(y, ["dog", "cat", "owl", "cat"], [0.9, 0.8, 0.7, 0.1])
    names = ["a/<b>_1.png", "a/2.png", "a/3.png", "a/4.png"]
    report = LabelReport.from_estimator(estimator, None, y, names=names, y_true=["dog", "owl", "owl", "cat"])
    page = report.to_html()
    parsed = assert_inert(page)
    assert "a/<wbr>&lt;b&gt;_<wbr>1.png</div>" in page
    assert "score 0.900 · row\N{NO-BREAK SPACE}0</div>" in page
    text = " ".join("".join(parsed.text).split())
    assert "✓ it is dog" in text
    assert "✓ wrong, but it is owl" in text
    assert "✗ the given label is right" in text


# --- the list ---------------------------------------------------------------------------------------------------------


def test_frame_is_ranked(five):
    estimator, y = five
    frame = LabelReport.from_estimator(estimator, None, y).to_frame()
    assert frame["row"].tolist() == [1, 4, 2, 0, 3]  # equal scores in the order of the rows
    assert frame["given"].tolist() == ["cat", "dog", "dog", "cat", "dog"]
    assert frame["suggested"].tolist() == ["dog", "cat", "dog", "cat", "dog"]
    assert frame["flagged"].tolist() == [True, True, False, False, False]
    np.testing.assert_allclose(frame["confidence"], [0.95, 0.6, 0.8, 0.9, 0.9], rtol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 7, 199, 200, 300])
def test_first_rows_are_those_of_the_whole_ranking(n):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=200)
    report = LabelReport.from_estimator(fitted(y, y, rng.integers(10, size=200) / 10), None, y)  # many ties
    pd.testing.assert_frame_equal(report.to_frame(n), report.to_frame().head(n))


def test_names_truth_and_row_numbers(five):
    estimator, y = five
    report = LabelReport.from_estimator(
        estimator, None, y, names=list("abcde"), y_true=estimator.suggested_labels_, row_numbers=[10, 20, 30, 40, 50]
    )
    frame = report.to_frame(2)
    assert list(frame.columns) == ["row", "name", "given", "suggested", "noise_score", "confidence", "flagged", "true"]
    assert frame["row"].tolist() == [20, 50]
    assert frame["name"].tolist() == ["b", "e"]
    assert frame["true"].tolist() == ["dog", "cat"]


def test_text_summary(five):
    estimator, y = five
    text = str(LabelReport.from_estimator(estimator, None, y))
    assert "5 in 2 classes" in text
    assert "40.0%" in text
    assert "1  cat -> dog" in text
    assert "2 flagged" in repr(LabelReport.from_estimator(estimator, None, y))


def test_from_pipeline_search_and_holder(blobs):
    X, y = blobs
    clf = ELRClassifier(max_epochs=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), clf).fit(X, y)
    search = GridSearchCV(pipeline, {"elrclassifier__lr": [0.02]}, cv=2).fit(X, y)
    expected = LabelReport.from_estimator(pipeline[-1], X, y).to_frame()
    for estimator in (pipeline, search, SimpleNamespace(detector_=pipeline[-1])):
        pd.testing.assert_frame_equal(LabelReport.from_estimator(estimator, X, y).to_frame(), expected)


def test_wrong_estimators_and_labels(five, blobs):
    estimator, y = five
    with pytest.raises(NotFittedError):
        LabelReport.from_estimator(ELRClassifier(), *blobs)
    with pytest.raises(
        TypeError, match="LogisticRegression has no noise_scores_: pass a fitted classifier or detector"
    ):
        LabelReport.from_estimator(LogisticRegression().fit(*blobs), *blobs)
    with pytest.raises(ValueError, match="y has 4 labels, but SimpleNamespace was fitted on 5 rows"):
        LabelReport.from_estimator(estimator, None, y[:4])
    with pytest.raises(ValueError, match="the label 'cow' in row 2, which is not one of the classes 'cat', 'dog'"):
        LabelReport.from_estimator(estimator, None, ["cat", "cat", "cow", "dog", "dog"])
    with pytest.raises(ValueError, match="row 2 has the label 'cat' now and had 'dog' then"):
        LabelReport.from_estimator(estimator, None, ["cat", "cat", "cat", "dog", "dog"])
    with pytest.raises(ValueError, match="X has 4 rows, but y has 5 labels"):
        LabelReport.from_estimator(estimator, np.zeros((4, 2)), y)
    with pytest.raises(ValueError, match="texts has 1 rows"):
        LabelReport.from_estimator(estimator, None, y, texts=["one"])
    with pytest.raises(ValueError, match="names must have one entry for each of the 5 labels in y, got 2"):
        LabelReport.from_estimator(estimator, None, y, names=["a", "b"])
    with pytest.raises(ValueError, match="row_numbers must be 5 different numbers"):
        LabelReport.from_estimator(estimator, None, y, row_numbers=[1, 1, 2, 3, 4])
    estimator.noise_scores_ = np.array([0, np.nan, 0, 0, 0])
    with pytest.raises(ValueError, match="noise_scores_ must be finite, got nan in row 1"):
        LabelReport.from_estimator(estimator, None, y)
    del estimator.noise_rate_
    with pytest.raises(TypeError, match="has noise_scores_, but no noise_rate_"):
        LabelReport.from_estimator(estimator, None, y)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_page_holds_everything(digits_report, digits, tmp_path):
    clf, X, y = digits_report
    truth = np.where(digits[4], (y + 1) % 10, y)
    report = LabelReport.from_estimator(clf, X.reshape(-1, 8, 8), y, y_true=truth)
    report.to_html(tmp_path / "report.html", title="Digits")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page) < 600_000
    parsed = assert_inert(page)
    assert parsed.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in parsed.named("meta")
    assert any("default-src 'none'" in attrs.get("content", "") for attrs in parsed.named("meta"))
    pictures = parsed.named("img")
    assert len(pictures) == 60 + 7  # rows; class noise, matrix, scores, curves, map, precision-recall, ROC
    text = " ".join(" ".join(parsed.text).split())
    assert "Digits" in text
    assert "The 60 most suspicious labels" in text
    worst = int(np.argsort(-clf.noise_scores_, kind="stable")[0])
    assert f"row {worst}" in text
    assert f"{clf.noise_mask_.sum():,} of {len(y):,} labels" in text
    alts = " ".join(attrs["alt"] for attrs in pictures)
    for word in ("Bars, share of flagged", "Heat map", "Histogram", "Two curves", "Map of rows", "Precision", "ROC"):
        assert word in alts
    assert f"image of row {worst}" in alts


def test_without_truth_and_record_there_are_three_charts(five):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    page = assert_inert(report.to_html())
    assert len(page.named("img")) == 3
    text = "".join(page.text)
    assert "truly wrong" not in text
    assert "not flagged" in text
    assert "cat, kept" in " ".join(text.split())
    with pytest.raises(ValueError, match="only be measured against the true labels"):
        report.plot_detection_curve()
    with pytest.raises(ValueError, match="fit_recorded"):
        report.plot_learning_curves()


def test_same_fit_same_page(five):
    estimator, y = five
    first, second = (LabelReport.from_estimator(estimator, None, y).to_html() for _ in range(2))
    assert first == second


def test_notebook_shows_a_fragment(five):
    estimator, y = five
    fragment = LabelReport.from_estimator(estimator, None, y)._repr_html_()
    assert_inert(fragment)
    assert "<html" not in fragment
    assert fragment.strip().startswith('<div class="rl-report">')
    for rule in fragment.partition("<style>")[2].partition("</style>")[0].strip().splitlines():
        assert all(part.strip().startswith(".rl-report") for part in rule.partition("{")[0].split(",")), rule


@pytest.mark.parametrize("kind", ["images", "texts", "columns", "nothing"])
def test_no_name_or_label_becomes_html(kind):
    n = len(EVIL)
    y = np.array(EVIL)
    suggested = np.roll(y, 1)
    X, texts = None, None
    if kind == "images":
        X = np.zeros((n, 4, 4), dtype=np.uint8)
    elif kind == "texts":
        texts = EVIL
    elif kind == "columns":
        X = pd.DataFrame(dict.fromkeys(EVIL, EVIL))
    estimator = fitted(y, suggested, np.linspace(0.9, 0.5, n))
    estimator = type("Evil<script>", (), vars(estimator))()
    report = LabelReport.from_estimator(estimator, X, y, texts=texts, names=EVIL, y_true=suggested)
    for page in [report.to_html(title=EVIL[0]), *([report._repr_html_()] if kind == "columns" else [])]:
        parsed = assert_inert(page)
        text = "".join(parsed.text)
        for evil in EVIL:
            assert " ".join(evil.split()) in text
        assert "49" not in text.partition("estimated noise")[0]  # no template runs either


def test_images_of_any_kind_in_one_report(tmp_path):
    sizes = [(30, 20), (8, 8), (500, 300), (1, 90), (64, 64), (40, 40)]
    modes = ["RGB", "L", "RGBA", "P", "1", "I;16"]
    paths = []
    for i, (size, mode) in enumerate(zip(sizes, modes, strict=True)):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB" if mode == "I;16" else mode, size).convert(mode if mode != "I;16" else "I;16").save(paths[-1])
    (tmp_path / "6.png").write_bytes(b"no image")
    paths += [tmp_path / "6.png", tmp_path / "absent.png"]
    y = np.array([0, 1] * 4)
    report = LabelReport.from_estimator(fitted(y, 1 - y, np.linspace(0.9, 0.1, 8)), [str(p) for p in paths], y)
    page = assert_inert(report.to_html())
    pictures = [attrs for attrs in page.named("img") if attrs["alt"].startswith("image of")]
    assert len(pictures) == 6
    assert max(int(attrs["width"]) for attrs in pictures) == 192
    assert "".join(page.text).count("cannot be shown") == 2


def test_a_page_stays_small(monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=100)
    images = rng.integers(256, size=(100, 128, 128, 3), dtype=np.uint8)  # noise does not compress
    report = LabelReport.from_estimator(fitted(y, 1 - y, rng.random(100)), images, y)
    monkeypatch.setattr(html_page, "PICTURE_BYTES", 300_000)
    page = report.to_html(n=50)
    widths = [attrs["width"] for attrs in Page(page).named("img") if attrs["alt"].startswith("image of")]
    assert len(widths) == 50
    assert set(widths) == {"64"}
    assert len(page) > 200_000
    monkeypatch.setattr(html_page, "PAGE_BYTES", 180_000)
    assert 100_000 < len(report.to_html(n=50)) < 180_000


def test_a_million_rows(tmp_path):
    rng = np.random.default_rng(0)
    n = 1_000_000
    y = rng.integers(100, size=n)
    suggested = np.where(rng.random(n) < 0.1, rng.integers(100, size=n), y)
    estimator = fitted(y, suggested, rng.random(n))
    report = LabelReport.from_estimator(estimator, None, y, y_true=suggested)
    report.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    assert report.to_frame(3)["row"].tolist() == np.argsort(-estimator.noise_scores_, kind="stable")[:3].tolist()


def test_labels_are_checked(five):
    estimator, _ = five
    with pytest.raises(ValueError, match="y is None"):
        LabelReport.from_estimator(estimator, None, None)


def test_unwritable_page_leaves_nothing(five, tmp_path):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    with pytest.raises(FileNotFoundError):
        report.to_html(tmp_path / "no" / "report.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(OSError, match=r"folder\.html"):
        report.to_html(tmp_path / "folder.html")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_extra_missing(five, monkeypatch, module):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'Reports need {module}: pip install "robustlabels\[report\]"'):
        report.to_html()


def test_undecodable_names_are_written(five, tmp_path):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y, names=["ok", "bad\udcff", "a\x00b", "c", "d"])
    report.to_html(tmp_path / "report.html")
    report.to_review(tmp_path / "review.csv")
    assert "bad?" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("labels", [[True, False], [1.5, 2.5], [3, 7], ["é", "日本"]])
def test_labels_of_any_type(labels, tmp_path):
    y = np.array(labels * 10)
    suggested = y.copy()
    suggested[:2] = y[[1, 0]]
    report = LabelReport.from_estimator(fitted(y, suggested, np.r_[0.9, 0.8, np.zeros(18)]), None, y)
    assert_inert(report.to_html())
    for name in ("review.csv", "review.json", "tasks.label-studio.json"):
        report.to_review(tmp_path / name)
    filled = pd.read_csv(tmp_path / "review.csv", dtype=str)
    filled.loc[0, "verdict"] = "confirm"
    filled.to_csv(tmp_path / "review.csv", index=False)
    fixed = report.read_review(tmp_path / "review.csv").apply(y)
    assert fixed.dtype == y.dtype
    assert fixed.tolist() == [y[1].item(), *y[1:].tolist()]


def test_reports_can_be_kept(five):
    estimator, y = five
    for X in (None, np.zeros((5, 4, 4)), pd.DataFrame({"day": pd.date_range("2020", periods=5)}), list("abcde")):
        report = LabelReport.from_estimator(estimator, X, y)
        report.apply(y, relabel_above=0.9)
        again = pickle.loads(pickle.dumps(report))
        pd.testing.assert_frame_equal(again.decisions_, report.decisions_)
        assert again.revert().tolist() == y.tolist()
    assert again.to_html() == report.to_html()


def test_the_interval_of_the_noise_rate_is_told(five):
    estimator, y = five
    estimator.noise_rate_interval_ = (0.1, 0.5)
    assert "40.0% (10.0% to 50.0%)" in LabelReport.from_estimator(estimator, None, y).to_html()


def test_the_drawing_leaves_settings_alone(five):
    matplotlib = pytest.importorskip("matplotlib")
    estimator, y = five
    with matplotlib.rc_context({"font.size": 77, "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        small = LabelReport.from_estimator(estimator, None, y).to_html()
        assert dict(matplotlib.rcParams) == before
    assert small == LabelReport.from_estimator(estimator, None, y).to_html()


def test_sparse_rows(five):
    estimator, y = five
    X = scipy.sparse.csr_matrix(np.diag([1.0, 2.0, 3.0, 4.0, 5.0]))
    text = "".join(assert_inert(LabelReport.from_estimator(estimator, X, y).to_html()).text)
    assert "column 1" in text


# --- decisions --------------------------------------------------------------------------------------------------------


def test_apply_relabels_and_drops(five):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    before = y.copy()
    assert report.apply(y).tolist() == y.tolist()
    assert report.apply(y, relabel_above=0.9).tolist() == ["cat", "dog", "dog", "dog", "dog"]
    decisions = report.decisions_
    assert decisions[["row", "given", "decided", "source"]].to_numpy().tolist() == [[1, "cat", "dog", "threshold"]]
    assert report.kept_mask_.all()

    assert report.apply(y, relabel_above=0.9, drop_above=0.7).tolist() == ["cat", "dog", "dog", "dog"]
    assert report.kept_mask_.tolist() == [True, True, True, True, False]
    assert report.decisions_["decided"].tolist() == ["dog", None]
    assert y.tolist() == before.tolist()


def test_series_keep_their_index(five):
    estimator, y = five
    series = pd.Series(y, index=list("abcde"), name="animal", dtype="category")
    report = LabelReport.from_estimator(estimator, None, series)
    fixed = report.apply(series, relabel_above=0.9, drop_above=0.7)
    expected = pd.Series(["cat", "dog", "dog", "dog"], index=list("abcd"), name="animal", dtype="category")
    pd.testing.assert_series_equal(fixed, expected)
    pd.testing.assert_series_equal(report.revert(), series)


def test_revert(five):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    with pytest.raises(AttributeError, match="call apply"):
        report.revert()
    fixed = report.apply(y, relabel_above=0.9, drop_above=0.7)
    fixed[0] = "dog"  # a change of one's own
    assert report.revert(fixed, rows=[4]).tolist() == ["dog", "dog", "dog", "dog", "dog"]
    assert report.decisions_["row"].tolist() == [1]
    assert report.kept_mask_.all()
    with pytest.raises(ValueError, match="the 5 labels that apply kept, got 4"):
        report.revert(fixed)
    assert report.revert().tolist() == y.tolist()
    assert report.decisions_.empty


def test_a_class_never_disappears():
    y = np.array([0, 0, 0, 1, 1, 1])
    report = LabelReport.from_estimator(fitted(y, 1 - y, [0.9, 0.8, 0.7, 0.9, 0.95, 0.99]), None, y)
    with pytest.warns(UserWarning, match=r"2 row\(s\) stay as they are, or no 1 would be left of the classes 0, 1"):
        fixed = report.apply(y, drop_above=0.5)
    assert fixed.tolist() == [0, 1]
    assert report.kept_mask_.tolist() == [False, False, True, True, False, False]
    with pytest.warns(UserWarning, match="stay as they are"):
        fixed = report.apply(y, drop_above=0.5, min_per_class=2)
    assert report.kept_mask_.tolist() == [False, True, True, True, True, False]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([None, 0.3, 0.7]), st.sampled_from([None, 0.4, 0.8]), st.integers(1, 3))
@pytest.mark.filterwarnings("ignore:.*stay as they are")
def test_apply_and_revert_are_inverse(seed, relabel_above, drop_above, min_per_class):
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=30)
    suggested = np.where(rng.random(30) < 0.7, rng.integers(4, size=30), y)
    report = LabelReport.from_estimator(fitted(y, suggested, rng.random(30), confidence=rng.random(30)), None, y)
    fixed = report.apply(y, relabel_above=relabel_above, drop_above=drop_above, min_per_class=min_per_class)
    kept = np.flatnonzero(report.kept_mask_)
    changed = dict(zip(report.decisions_["row"], report.decisions_["decided"], strict=True))
    assert [changed.get(row, y[row]) for row in kept] == fixed.tolist()
    assert {row for row, decided in changed.items() if decided is None} == set(range(30)) - set(kept)
    left, had = np.bincount(fixed, minlength=4), np.bincount(y, minlength=4)
    assert (left >= np.minimum(had, min_per_class)).all()
    assert report.revert(fixed).tolist() == y.tolist()


def test_apply_refuses(five):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    with pytest.raises(ValueError, match=r"relabel_above must be a number in \[0, 1\], got 95"):
        report.apply(y, relabel_above=95)
    with pytest.raises(ValueError, match="y is not what the report is about"):
        report.apply(y[::-1], relabel_above=0.9)
    with pytest.raises(ValueError, match="y is not what the report is about"):
        report.apply(y[:3], relabel_above=0.9)


# --- reviews ----------------------------------------------------------------------------------------------------------


def fill(path, verdicts):
    """What a person does with a list: row -> (verdict, label)."""
    with path.open(newline="", encoding="utf-8") as stream:
        records = list(csv.DictReader(stream))
    for record in records:
        record["verdict"], record["label"] = verdicts.get(int(record["row"]), ("", ""))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, records[0])
        writer.writeheader()
        writer.writerows(records)


def test_reviewed_list_comes_back(five, tmp_path):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    path = tmp_path / "review.csv"
    report.to_review(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [
        "row,given,suggested,noise_score,confidence,flagged,verdict,label",
        "1,cat,dog,0.900000,0.950000,1,,",
    ]
    fill(path, {1: ("Reject ", ""), 4: ("confirm", ""), 2: ("drop", ""), 0: ("", "dog")})
    report.read_review(path)
    assert report.verdicts_["row"].tolist() == [0, 1, 2, 4]
    assert report.verdicts_["decided"].tolist() == ["dog", "cat", None, "cat"]
    fixed = report.apply(y, relabel_above=0.5, drop_above=0.5)  # verdicts stand against thresholds
    assert fixed.tolist() == ["dog", "cat", "dog", "cat"]
    assert report.decisions_["source"].tolist() == ["review"] * 3  # row 1 stays as it was given
    assert report.revert(fixed).tolist() == y.tolist()


def test_training_continues_with_the_verdicts(digits_report, digits, tmp_path):
    clf, X, y = digits_report
    report = LabelReport.from_estimator(clf, X, y)
    report.to_review(tmp_path / "review.csv", n=100)
    wrong = digits[4]
    fill(tmp_path / "review.csv", {row: ("confirm" if wrong[row] else "reject", "") for row in range(len(y))})
    fixed = report.read_review(tmp_path / "review.csv").apply(y)
    assert (fixed != y).sum() == len(report.decisions_) > 90
    again = ELRClassifier(max_epochs=2, random_state=0).fit(X[report.kept_mask_], fixed)
    assert again.noise_scores_.shape == y.shape


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_lists_as_spreadsheets_save_them(five, tmp_path, delimiter):
    estimator, y = five
    path = tmp_path / "review.csv"
    path.write_text(f"row{delimiter}given{delimiter}label\r\n1{delimiter}cat{delimiter}dog\r\n", encoding="utf-8-sig")
    report = LabelReport.from_estimator(estimator, None, y).read_review(path)
    assert report.verdicts_["decided"].tolist() == ["dog"]


def test_json_and_label_studio(five, tmp_path):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y, texts=["a", "b", "c", "d", "e"])
    report.to_review(tmp_path / "review.json", n=2)
    records = json.loads((tmp_path / "review.json").read_text(encoding="utf-8"))
    assert [record["row"] for record in records] == [1, 4]
    assert records[0]["verdict"] is None
    records[0]["verdict"] = "confirm"
    (tmp_path / "review.json").write_text(json.dumps(records), encoding="utf-8")
    assert report.read_review(tmp_path / "review.json").verdicts_["decided"].tolist() == ["dog"]

    report = LabelReport.from_estimator(estimator, None, y, texts=["a", "b", "c", "d", "e"])
    path = tmp_path / "tasks.label-studio.json"
    report.to_review(path)
    tasks = json.loads(path.read_text(encoding="utf-8"))
    assert [task["data"]["text"] for task in tasks] == ["b", "e"]  # the flagged rows
    (choice,) = tasks[0]["predictions"][0]["result"]
    assert choice == {"from_name": "label", "to_name": "item", "type": "choices", "value": {"choices": ["dog"]}}

    def annotated(label, **more):
        return {"result": [{**choice, "value": {"choices": [label]}}], **more}

    tasks[0]["annotations"] = [
        annotated("cat"),
        annotated("dog"),
        annotated("dog"),
        annotated("cat", was_canceled=True),
    ]
    tasks[1]["annotations"] = [annotated("cat"), annotated("dog")]  # no majority
    path.write_text(json.dumps(tasks), encoding="utf-8")
    frame = report.read_review(path).verdicts_
    assert frame[["row", "decided"]].to_numpy().tolist() == [[1, "dog"]]

    flat = [{**task["data"], "label": "cat", "annotator": 1} for task in tasks]  # Label Studio's JSON-MIN
    (tmp_path / "min.json").write_text(json.dumps(flat), encoding="utf-8")
    report = LabelReport.from_estimator(estimator, None, y).read_review(tmp_path / "min.json")
    assert report.verdicts_["decided"].tolist() == ["cat", "cat"]


def test_label_studio_gets_images(five, tmp_path):
    estimator, y = five
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for file in files:
        Image.new("RGB", (4, 4)).save(file)
    report = LabelReport.from_estimator(estimator, files, y)
    path = tmp_path / "tasks.json"
    report.to_review(path, format="label-studio", n=1)
    assert json.loads(path.read_text())[0]["data"]["image"].startswith("data:image/png;base64,")
    report.to_review(path, format="label-studio", n=1, url_prefix="/data/local-files/?d=")
    assert json.loads(path.read_text())[0]["data"]["image"] == f"/data/local-files/?d={files[1]}"
    config = report.label_studio_config()
    assert '<Image name="item" value="$image"/>' in config
    assert '<Choice value="cat"/>' in config


def test_rows_of_a_part_are_found_by_their_numbers(five, tmp_path):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y, row_numbers=[10, 20, 30, 40, 50])
    report.to_review(tmp_path / "review.csv")
    fill(tmp_path / "review.csv", {20: ("confirm", "")})
    fixed = report.read_review(tmp_path / "review.csv").apply(y)
    assert fixed.tolist() == ["cat", "dog", "dog", "dog", "dog"]
    assert report.decisions_["row"].tolist() == [20]
    assert report.revert(fixed, rows=[20]).tolist() == y.tolist()


def test_reviews_that_cannot_be(five, tmp_path):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    path = tmp_path / "review.csv"

    def refused(text, match, name="review.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=match):
            report.read_review(tmp_path / name)

    refused("given,label\ncat,dog\n", "it has no column 'row'")
    refused("row,label\nx,dog\n", "line 2: there must be a row number in the column 'row', got 'x'")
    refused("row,label\n9,dog\n", "line 2: row 9 is not one of the 5 rows that are reviewed here")
    refused("row,label\n1,dogg\n", "line 2: 'dogg' is not one of the classes, did you mean 'dog'")
    refused("row,label\n1,zebra\n", "not one of the classes; they are 'cat', 'dog'")
    refused("row,verdict\n1,yes\n", "the verdict must be empty or one of confirm, reject, drop, got 'yes'")
    refused("row,given,verdict\n1,dog,drop\n", "row 1 has the given label 'dog' in the review but 'cat' in the data")
    refused("row,verdict\n1,drop\n1,reject\n", "row 1 has two different verdicts in this file")
    refused("{", "is not JSON", "review.json")
    refused('{"row": 1}', "must hold a list of records", "review.json")
    with pytest.raises(ValueError, match=r"a review is a \.csv, a \.json or a \.label-studio\.json file"):
        report.to_review(tmp_path / "review.xlsx")
    with pytest.raises(ValueError, match="format must be 'auto' or one of 'csv'"):
        report.to_review(path, format="xlsx")
    assert report.verdicts_.empty


# --- plots ------------------------------------------------------------------------------------------------------------


def test_every_plot_of_the_report(digits_report, digits):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    clf, X, y = digits_report
    truth = np.where(digits[4], (y + 1) % 10, y)
    report = LabelReport.from_estimator(clf, X.reshape(-1, 8, 8), y, y_true=truth)
    for name in ("class_noise", "transition_matrix", "score_histogram", "learning_curves", "dataset_map"):
        _, ax = pyplot.subplots()
        assert getattr(report, f"plot_{name}")(ax=ax).ax_ is ax
    assert len(report.plot_gallery(10).axes_) == 10
    assert report.plot_detection_curve("roc").kind == "roc"
    pyplot.close("all")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_decisions_are_checked(five):
    estimator, y = five
    report = LabelReport.from_estimator(estimator, None, y)
    for value in (-1, 1.5, True, "1"):
        with pytest.raises(ValueError, match="min_per_class must be an integer"):
            report.apply(y, drop_above=0.5, min_per_class=value)
    for name in ("relabel_above", "drop_above"):
        with pytest.raises(ValueError, match=f"{name} must be a number"):
            report.apply(y, **{name: "0.5"})
    fixed = report.apply(y, relabel_above=0.5)
    with pytest.raises(ValueError, match="there is no row 7 in the report"):
        report.revert(fixed, rows=[1, 7])
    np.testing.assert_array_equal(report.revert(fixed, rows=[]), fixed)
    assert report.revert(fixed, rows=1).tolist() == ["cat", "cat", "dog", "dog", "cat"]


def test_labels_of_a_one_column_frame(five):
    estimator, y = five
    frame = pd.DataFrame({"label": y}, index=list("abcde"))
    report = LabelReport.from_estimator(estimator, None, frame)
    fixed = report.apply(frame, drop_above=0.85)
    assert fixed.to_dict() == {"a": "cat", "c": "dog", "d": "dog", "e": "dog"}
    assert fixed.name == "label"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.csv", "row,label\n0,é\n".encode("latin1"), "latin.csv is not UTF-8 text"),
        ("binary.json", b"\xff\xfe", "binary.json is not UTF-8 text"),
        ("digit.csv", "row,verdict\n²,drop\n".encode(), "a row number in the column 'row', got '²'"),
        ("null.json", b'[{"data": null}]', "a row number in the column 'row', got ''"),
    ],
)
def test_reviews_that_are_none(five, tmp_path, name, content, message):
    estimator, y = five
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        LabelReport.from_estimator(estimator, None, y).read_review(tmp_path / name)
