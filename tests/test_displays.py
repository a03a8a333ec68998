"""Displays: their numbers against slower ways to count them, their drawings without overlaps."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from robustlabels import displays
from robustlabels.maths.functional import fit_two_component_mixture
from robustlabels.report.drawing import FLAGGED, KEPT

pyplot = pytest.importorskip("matplotlib.pyplot")

EVERY = [
    displays.ClassNoiseDisplay,
    displays.TransitionMatrixDisplay,
    displays.ScoreHistogramDisplay,
    displays.LearningCurvesDisplay,
    displays.DatasetMapDisplay,
]


@pytest.fixture(autouse=True)
def closed():
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def estimator(n=600, k=4, names=None, epochs=12, seed=0):
    """A fitted detector's attributes, and its labels."""
    rng = np.random.default_rng(seed)
    names = np.array([f"class {i:04d}" for i in range(k)]) if names is None else np.sort(names)
    given = rng.integers(k, size=n)
    suggested = np.where(rng.random(n) < 0.2, rng.integers(k, size=n), given)
    flagged = suggested != given
    matrix = rng.random((k, k)) + 3 * np.eye(k)
    history = np.where(flagged, 0.1, 0.9) + rng.normal(0, 0.05, size=(epochs, n))
    fitted = SimpleNamespace(
        classes_=names,
        noise_scores_=np.clip(np.where(flagged, 0.9, 0.1) + rng.normal(0, 0.05, size=n), 0, 1).astype(np.float32),
        noise_mask_=flagged,
        noise_rate_=float(flagged.mean()),
        suggested_labels_=names[suggested],
        suggested_confidence_=np.full(n, 0.9, dtype=np.float32),
        transition_matrix_=matrix / matrix.sum(1, keepdims=True),
        threshold_=0.5,
        net_=SimpleNamespace(proba_history_=np.clip(history, 0, 1).astype(np.float16)),
    )
    return fitted, names[given]


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_class_noise_counts():
    fitted, y = estimator()
    display = displays.ClassNoiseDisplay.from_estimator(fitted, None, y)
    counted = pd.Series(fitted.noise_mask_).groupby(y).agg(["size", "sum", "mean"])
    np.testing.assert_array_equal(display.counts, counted["size"])
    np.testing.assert_array_equal(display.flagged, counted["sum"])
    np.testing.assert_allclose(display.shares, counted["mean"])
    other = displays.ClassNoiseDisplay.from_predictions(y, fitted.noise_mask_)
    np.testing.assert_array_equal(other.flagged, display.flagged)
    worst = counted["mean"].idxmax()
    assert f"of the labels “{worst}” look wrong" in display.summary
    assert displays.ClassNoiseDisplay.from_predictions(y, np.zeros(600)).summary == "No label looks wrong in any class"


def test_a_class_without_rows():
    display = displays.ClassNoiseDisplay(["a", "b"], [0, 4], [0, 1]).plot()
    assert display.shares.tolist() == [0, 0.25]


def test_transition_matrix_from_labels():
    fitted, y = estimator()
    display = displays.TransitionMatrixDisplay.from_predictions(fitted.suggested_labels_, y)
    expected = confusion_matrix(fitted.suggested_labels_, y, normalize="true")
    np.testing.assert_allclose(display.matrix, expected)
    errors = np.where(np.eye(4), 0, expected)
    true, given = np.unravel_index(errors.argmax(), errors.shape)
    assert display.summary.startswith(f"“class {true:04d}” is labeled “class {given:04d}” in ")
    assert displays.TransitionMatrixDisplay(np.eye(2), ["a", "b"]).summary == "No class is taken for another"
    with pytest.raises(ValueError, match=r"matrix must have shape \(3, 3\) for 3 classes, got \(2, 2\)"):
        displays.TransitionMatrixDisplay(np.eye(2), ["a", "b", "c"])


def test_of_many_classes_the_worst_are_drawn():
    k = 40
    matrix = np.eye(k)
    matrix[7, 31], matrix[7, 7] = 0.3, 0.7
    display = displays.TransitionMatrixDisplay(matrix, [f"c{i}" for i in range(k)]).plot()
    assert {7, 31} <= set(display.shown)
    assert len(display.shown) == 12
    assert "28 classes more" in display.ax_.get_xlabel()


def test_score_histogram_counts():
    fitted, y = estimator()
    display = displays.ScoreHistogramDisplay.from_estimator(fitted, None, y)
    scores, flagged = fitted.noise_scores_, fitted.noise_mask_
    assert display.kept.sum() == (~flagged).sum()
    assert display.flagged.sum() == flagged.sum()
    for i in (0, 5, 49):
        inside = (scores >= display.edges[i]) & (scores <= display.edges[i + 1])
        assert display.kept[i] + display.flagged[i] == pytest.approx(inside.sum(), abs=1)
    import torch

    mixture = fit_two_component_mixture(torch.from_numpy(scores), max_iter=100, tol=1e-4)
    assert display.mixture == mixture
    assert "two groups, around 0.11 and 0.90" in display.summary
    assert "The threshold is 0.500." in display.alt
    one = displays.ScoreHistogramDisplay.from_predictions(np.full(10, 0.3))
    assert one.summary == "Scores form one group; 0 of 10 rows are flagged"
    assert displays.ScoreHistogramDisplay.from_predictions([0.3]).mixture is None


def test_learning_curves_by_hand():
    fitted, y = estimator()
    history, flagged = fitted.net_.proba_history_.astype(np.float64), fitted.noise_mask_
    history[3, :7] = np.nan
    display = displays.LearningCurvesDisplay.from_predictions(history, flagged)
    for drawn, mask in ((display.kept, ~flagged), (display.flagged, flagged)):
        np.testing.assert_allclose(drawn[:, 1], np.nanmean(history[:, mask], axis=1), rtol=1e-5)
        np.testing.assert_allclose(drawn[:, [0, 2]].T, np.nanpercentile(history[:, mask], (25, 75), axis=1), rtol=1e-5)
    assert displays.LearningCurvesDisplay.from_estimator(fitted, None, y).kept.shape == (12, 3)
    alone = displays.LearningCurvesDisplay.from_predictions(history[:1], np.zeros(600, dtype=bool))
    assert "flagged ones" not in alone.summary


def test_dataset_map_by_hand():
    fitted, y = estimator()
    history = fitted.net_.proba_history_.astype(np.float64)
    history[:, 5], history[2, 9] = np.nan, np.nan
    display = displays.DatasetMapDisplay.from_predictions(history, fitted.noise_mask_)
    seen = np.arange(600) != 5
    np.testing.assert_allclose(display.confidence, np.nanmean(history[:, seen], axis=0))
    np.testing.assert_allclose(display.variability, np.nanstd(history[:, seen], axis=0), atol=1e-9)
    np.testing.assert_array_equal(display.noise_mask, fitted.noise_mask_[seen])
    assert displays.DatasetMapDisplay.from_estimator(fitted, None, y).confidence.shape == (600,)


@pytest.mark.parametrize("display", EVERY[3:])
def test_what_was_not_recorded_is_an_error_with_a_way_out(display):
    fitted, y = estimator()
    del fitted.net_
    with pytest.raises(ValueError, match=r"SimpleNamespace did not record; fit the classifier with .*fit_recorded\("):
        display.from_estimator(fitted, None, y)


def test_detection_curves():
    fitted, y = estimator()
    rng = np.random.default_rng(0)
    flips = fitted.noise_mask_ ^ (rng.random(600) < 0.1)
    scores = fitted.noise_scores_
    curve = displays.DetectionCurveDisplay.from_estimator(fitted, None, y, flip_mask=flips)
    assert curve.area == pytest.approx(average_precision_score(flips, scores))
    hits = (flips & fitted.noise_mask_).sum()
    assert curve.at_mask == pytest.approx((hits / flips.sum(), hits / fitted.noise_mask_.sum()))
    curve = displays.DetectionCurveDisplay.from_predictions(flips, scores, fitted.noise_mask_, kind="roc")
    assert curve.area == pytest.approx(roc_auc_score(flips, scores))
    assert curve.at_mask == pytest.approx(((fitted.noise_mask_ & ~flips).sum() / (~flips).sum(), hits / flips.sum()))
    long = displays.DetectionCurveDisplay.from_predictions(rng.random(50_000) < 0.5, rng.random(50_000))
    assert len(long.x) <= 1000
    assert long.at_mask is None
    with pytest.raises(ValueError, match="kind must be 'precision_recall' or 'roc', got 'lift'"):
        displays.DetectionCurveDisplay([0], [1], 1.0, kind="lift")


def test_gallery_shows_the_worst():
    fitted, y = estimator()
    images = np.random.default_rng(0).integers(256, size=(600, 9, 9), dtype=np.uint8)
    display = displays.GalleryDisplay.from_estimator(fitted, images, y, n=7, n_columns=3)
    worst = np.argsort(-fitted.noise_scores_, kind="stable")[:7]
    np.testing.assert_array_equal(display.noise_scores, fitted.noise_scores_[worst])
    assert display.given == y[worst].tolist()
    for ax, row in zip(display.axes_, worst, strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), images[row])
        assert ax.get_title().startswith("class")
    same = displays.GalleryDisplay.from_predictions(
        images, y, noise_scores=fitted.noise_scores_, suggested_labels=fitted.suggested_labels_, n=7
    )
    assert same.suggested == display.suggested
    texts = displays.GalleryDisplay.from_estimator(fitted, None, y, texts=["words $x$ " * 90] * 600, n=2)
    assert "words" in texts.axes_[0].texts[0].get_text()
    assert displays.GalleryDisplay.from_estimator(fitted, np.eye(600), y, n=1).axes_[0].texts[0].get_text()


# --- drawings ---------------------------------------------------------------------------------------------------------


def boxes(artists):
    return [artist.get_window_extent() for artist in artists if artist.get_visible() and artist.get_text()]


def in_view(labels, limits, axis):
    return [label for label in labels if min(limits) <= label.get_position()[axis] <= max(limits)]


def assert_no_overlap(parts):
    for i, first in enumerate(parts):
        for second in parts[i + 1 :]:
            width = min(first.x1, second.x1) - max(first.x0, second.x0)
            height = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert width <= 1 or height <= 1, (first, second)


NAMES = {
    "short": ["0", "1", "2", "3"],
    "long": [f"an unreasonably long name of a class, number {i}" for i in range(4)],
    "formula": ["$\\frac{", "$x$", "a_b^c", "100 %$"],
    "many": [f"class {i}" for i in range(60)],
}


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("display", EVERY)
def test_labels_do_not_overlap(display, names):
    names = np.array(NAMES[names])
    fitted, y = estimator(k=len(names), names=names)
    drawn = display.from_estimator(fitted, None, y)
    drawn.figure_.canvas.draw()
    ax = drawn.ax_
    title = ax.get_title(loc="left")
    assert title.replace("\n", " ") == drawn.summary.replace("$", r"\$")
    assert drawn.alt
    frame = drawn.figure_.bbox
    text = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]
    ticks = boxes(in_view(ax.get_yticklabels(), ax.get_ylim(), 1))
    straight = [label for label in in_view(ax.get_xticklabels(), ax.get_xlim(), 0) if label.get_rotation() == 0]
    legend = [ax.get_legend().get_window_extent()] if ax.get_legend() else []
    assert_no_overlap([*boxes(text), *ticks])
    assert_no_overlap([*boxes(straight), *boxes([ax.xaxis.label]), *legend, *boxes([ax._left_title])])
    for box in [*boxes(text), *ticks, *boxes(straight), *boxes(ax.texts)]:
        assert box.x0 >= frame.x0 - 1
        assert box.x1 <= frame.x1 + 1
        assert box.y0 >= frame.y0 - 1
        assert box.y1 <= frame.y1 + 1


@pytest.mark.parametrize("display", EVERY)
def test_drawn_into_given_axes_and_again(display):
    fitted, y = estimator()
    _, axes = pyplot.subplots(1, 2, figsize=(12, 5))
    drawn = display.from_estimator(fitted, None, y, ax=axes[0])
    assert drawn.ax_ is axes[0]
    assert drawn.plot(axes[1], title=False).ax_ is axes[1]
    assert axes[1].get_title(loc="left") == ""
    assert drawn.figure_ is axes[1].figure


def test_colors_differ_in_brightness_too():
    from matplotlib.colors import to_rgb

    def brightness(color):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    kept, flagged = brightness(KEPT), brightness(FLAGGED)
    assert abs(kept - flagged) > 0.05
    for color in (kept, flagged):
        assert 1.05 / (color + 0.05) > 3  # against white: WCAG's contrast of graphics
