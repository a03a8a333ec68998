"""What is shown of a row: pictures of any array or file, texts, and the columns that are unusual by hand, too."""

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image

from robustlabels.image_files import ImagePaths
from robustlabels.report.evidence import as_png_or_jpeg, find_evidence, plain, shorten
from robustlabels.training.beliefs import Beliefs


def beliefs(given, suggested=None, flagged=None):
    given = np.asarray(given)
    suggested = given if suggested is None else np.asarray(suggested)
    return Beliefs(
        classes=np.arange(given.max() + 1),
        given=given,
        suggested=suggested,
        noise_scores=np.zeros(len(given)),
        confidence=np.zeros(len(given)),
        flagged=given != suggested if flagged is None else np.asarray(flagged),
        transition_matrix=np.eye(2),
        noise_rate=0.0,
    )


TWO = beliefs([0, 1])


def picture(X, row=0, side=128, **options):
    evidence = find_evidence(X, beliefs([0, 1] * (len(X) // 2)), **options)
    assert evidence.kind == "images"
    item = evidence.item(row, side)
    assert item.picture is not None, item.text
    return item.picture


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [np.asarray, torch.as_tensor, list])
def test_arrays_of_any_layout(container):
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(4, 6, 5, 3), dtype=np.uint8)
    pixels[0, 0, 0] = 255  # the full range
    np.testing.assert_array_equal(picture(container(pixels)), pixels[0])
    np.testing.assert_array_equal(picture(container(pixels.transpose(0, 3, 1, 2).copy())), pixels[0])
    np.testing.assert_array_equal(picture(container(pixels[..., 0].copy())), pixels[0, ..., 0])
    np.testing.assert_array_equal(picture(container(pixels[..., :1].copy())), pixels[0, ..., 0])
    np.testing.assert_array_equal(picture(container(pixels[:, None, ..., 0].copy())), pixels[0, ..., 0])


def test_channels_that_could_be_either():
    pixels = np.zeros((2, 3, 9, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    assert picture(pixels, channels="last").shape == (3, 9, 3)
    assert picture(pixels, channels="first").shape == (9, 3, 3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0.0, 0.5, 1.0]), [0, 128, 255]),  # on [0, 1]
        (np.array([0.0, 127.5, 255.0]), [0, 128, 255]),
        (np.array([0, 8, 16], dtype=np.uint8), [0, 128, 255]),  # few values, as in scikit-learn's digits
        (np.array([0, 100, 200], dtype=np.uint8), [0, 100, 200]),
        (np.array([0, 30_000, 60_000], dtype=np.uint16), [0, 128, 255]),
        (np.array([False, True, True]), [0, 255, 255]),
        (np.array([0.2, np.nan, np.inf]), [51, 0, 255]),
        (np.array([0.0, 0.0, 0.0]), [0, 0, 0]),
    ],
)
def test_ranges(values, expected):
    assert picture(np.broadcast_to(values, (2, 2, 3)).copy())[0].tolist() == expected


def test_standardized_images_use_the_whole_range():
    X = np.random.default_rng(0).normal(size=(4, 3, 20, 20)).astype(np.float32)
    shown = picture(X)
    assert shown.min() == 0
    assert shown.max() == 255
    assert 100 < shown.mean() < 155


def test_large_images_are_made_smaller_and_small_ones_are_left():
    assert picture(np.zeros((2, 400, 200), dtype=np.uint8), side=100).shape == (100, 50)
    assert picture(np.zeros((2, 8, 8), dtype=np.uint8), side=100).shape == (8, 8)
    assert picture([np.zeros((5, 900), np.uint8), np.zeros((7, 7, 3), np.uint8)], side=90).shape == (1, 90)
    assert picture([np.zeros((5, 900), np.uint8), np.zeros((7, 7, 3), np.uint8)], row=1).shape == (7, 7, 3)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGB", (10, 20, 30), [10, 20, 30]),
        ("L", 7, 7),
        ("1", 1, 255),
        ("RGBA", (0, 0, 0, 0), [255, 255, 255]),  # what is transparent becomes white
        ("LA", (0, 255), [0, 0, 0]),
        ("CMYK", (0, 0, 0, 0), [255, 255, 255]),
        ("I;16", 40_000, 255),  # the brightest there is
        ("F", 0.5, 128),
        ("P", 0, [0, 0, 0]),
    ],
)
def test_files_of_any_mode(tmp_path, mode, color, expected):
    path = tmp_path / ("image.tiff" if mode in ("CMYK", "F") else "image.png")
    Image.new(mode, (3, 2), color).save(path)
    for X in ([path, path], [str(path)] * 2, pd.Series([str(path)] * 2), ImagePaths([path, path])):
        shown = picture(X)
        assert shown.shape[:2] == (2, 3)
        assert shown[0, 0].tolist() == expected


def test_files_are_turned_upright(tmp_path):
    image = Image.new("RGB", (30, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # lies on its side
    image.save(tmp_path / "image.jpg", exif=exif)
    assert picture([tmp_path / "image.jpg"] * 2).shape == (30, 10, 3)


@pytest.mark.parametrize("content", [None, b"", b"no image", b"half"])
def test_what_cannot_be_read_is_said(tmp_path, content):
    path = tmp_path / "image.png"
    if content == b"half":
        Image.effect_noise((90, 90), 50).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif content is not None:
        path.write_bytes(content)
    item = find_evidence([path, path], TWO).item(0, 64)
    assert item.picture is None
    assert item.text.startswith("cannot be shown: ")


def test_a_data_uri_holds_the_picture():
    def decoded(uri):
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))

    small = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)
    assert as_png_or_jpeg(small).startswith("data:image/png;base64,")
    np.testing.assert_array_equal(decoded(as_png_or_jpeg(small)), small)
    ramp = np.broadcast_to(np.arange(150, dtype=np.uint8), (150, 150))
    photo = np.clip(ramp + np.random.default_rng(0).normal(0, 8, (150, 150)), 0, 255).astype(np.uint8)
    assert as_png_or_jpeg(photo).startswith("data:image/jpeg;base64,")
    assert np.abs(decoded(as_png_or_jpeg(photo)).astype(float) - photo).mean() < 5


# --- texts ------------------------------------------------------------------------------------------------------------


def test_texts():
    long = "word " * 500
    for X in (["a\n text", long], np.array(["a\n text", long]), pd.Series(["a\n text", long], index=[7, 8])):
        evidence = find_evidence(X, TWO)
        assert evidence.kind == "texts"
        assert evidence.item(0, 0).text == "a text"
        assert 550 < len(evidence.item(1, 0).text) < 610
    assert find_evidence(np.zeros((2, 3)), TWO, texts=["a", "b"]).item(1, 0).text == "b"
    assert find_evidence(["see image.png\nfor more", "b.png"], TWO).kind == "texts"
    assert find_evidence([Path("a.png"), Path("b")], TWO).kind == "images"
    assert find_evidence(None, TWO).item(0, 0).text == ""


# --- tables -----------------------------------------------------------------------------------------------------------


def test_unusual_columns_by_hand():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 8)) * np.arange(1, 9)
    given = np.arange(400) % 2
    suggested = given.copy()
    suggested[0] = 1
    X[0, 5] = 90.0
    flagged = given != suggested
    item = find_evidence(X, beliefs(given, suggested), feature_names=list("abcdefgh")).item(0, 0)
    usual = X[(given == 0) & ~flagged]
    middle = np.median(usual, axis=0)
    spread = 1.4826 * np.median(np.abs(usual - middle), axis=0)
    distance = np.abs(X[0] - middle) / spread
    order = np.argsort(-distance)[:5]
    assert [column.name for column in item.columns] == ["abcdefgh"[i] for i in order]
    np.testing.assert_allclose([column.distance for column in item.columns], distance[order])
    first = item.columns[0]
    assert first.name == "f"
    assert first.value == "90"
    assert first.given == plain(middle[5])
    assert first.suggested == plain(np.median(X[(given == 1) & ~flagged, 5]))


def test_unusual_entries_of_a_data_frame():
    n = 200
    frame = pd.DataFrame(
        {
            "town": ["Rome"] * n,
            "rank": pd.Categorical(["low"] * n),
            "born": pd.date_range("2020-01-01", periods=n),
            "size": np.linspace(0, 1, n),
            "whole": pd.array([1] * n, dtype="Int64"),
            "married": [True] * n,
            "remark": [f"a remark, number {i}, that nobody else makes" for i in range(n)],
        }
    )
    frame.loc[3, "town"] = "Oslo"
    frame.loc[3, "born"] = pd.Timestamp("1850-06-01")
    frame.loc[3, "whole"] = pd.NA
    frame.loc[3, "married"] = False
    item = find_evidence(frame, beliefs(np.zeros(n, dtype=int))).item(3, 0)
    assert item.text == "a remark, number 3, that nobody else makes"
    shown = {column.name: (column.value, column.given) for column in item.columns}
    assert list(shown) == ["born", "town", "married", "whole", "size"]
    assert shown["town"] == ("Oslo", "Rome")
    assert shown["born"] == ("1850-06-01", "2020-04-09T12:00:00")
    assert shown["whole"] == ("missing", "1")
    assert shown["married"] == ("False", "True")


@pytest.mark.parametrize("dtype", [object, str])
def test_words_in_an_array_are_categories(dtype):
    X = np.array([["red", 1.5], ["red", 2.5]] * 5 + [["blue", 90.0], ["red", 2.0]], dtype=dtype)
    evidence = find_evidence(X, beliefs([0, 1] * 6), feature_names=["color", "size"])
    shown = {column.name: column for column in evidence.item(10, 64).columns}
    assert (shown["color"].value, shown["color"].given) == ("blue", "red")
    assert float(shown["size"].value) == 90
    assert float(shown["size"].given) == 1.5


def test_constant_columns_and_small_classes():
    X = np.ones((4, 2))
    X[0, 1] = 2.0
    item = find_evidence(X, beliefs([0, 0, 0, 1], [1, 0, 0, 1])).item(0, 0)
    assert item.columns[0].name == "column 1"
    assert item.columns[0].distance > 1
    assert item.columns[1].distance == 0
    everything_missing = find_evidence(np.full((2, 1), np.nan), TWO).item(0, 0)
    assert everything_missing.columns[0][:3] == ("column 0", "missing", "missing")


def test_sparse_rows_show_what_is_not_zero():
    dense = np.zeros((50, 30))
    dense[:, 4] = 1.0
    dense[0, [4, 7, 9]] = 1.0, 5.0, 0.5
    item = find_evidence(scipy.sparse.csr_array(dense), beliefs(np.zeros(50, dtype=int))).item(0, 0)
    assert {column.name for column in item.columns} == {"column 4", "column 7", "column 9"}
    assert item.columns[-1].name == "column 4"


def test_shapes_that_cannot_be_shown():
    with pytest.raises(
        ValueError, match=r"rows of shape \(2, 2, 2, 2\) cannot be shown; pass images, texts or a table"
    ):
        find_evidence(np.zeros((2, 2, 2, 2, 2)), TWO)


def test_short_names():
    assert shorten("abc", 3) == "abc"
    assert shorten("abcdef", 5) == "ab…ef"
    assert len(shorten("x" * 1000)) == 60
