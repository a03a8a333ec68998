"""Data sets: the image decoder against a slow encoder, lazy image folders, the real files where they are present."""

import gzip
import os
import pickle
import struct
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import _safe_indexing

from robustlabels import image_files
from robustlabels.datasets import (
    NoisyDataset,
    load_cifar10,
    load_cifar10_features,
    load_fashion_mnist,
    load_image_folder,
    load_jira_defects,
    load_noisyag_crowd,
    load_noisyag_news,
    load_trec,
    published,
    storage,
)
from robustlabels.image_files import ImagePaths
from robustlabels.noise import InstanceDependentNoise

Image = pytest.importorskip("PIL.Image")

LOADERS = (
    load_cifar10,
    load_cifar10_features,
    load_fashion_mnist,
    load_jira_defects,
    load_noisyag_crowd,
    load_noisyag_news,
    load_trec,
)
real_data = pytest.mark.skipif(
    not os.environ.get("ROBUSTLABELS_DATA"), reason="ROBUSTLABELS_DATA is not set to a folder with the real data"
)


# --- stored images ----------------------------------------------------------------------------------------------------


def _encode(images):
    """Residuals of (n, 3, h, w) images, one pixel at a time: what the decoder must undo."""
    n, _, height, width = images.shape
    residuals = np.empty((3, n, height, width), np.uint8)
    for image in range(n):
        red, green, blue = images[image].astype(int)
        for plane, values in enumerate((green, (red - green) % 256, (blue - green) % 256)):
            for i in range(height):
                for j in range(width):
                    left = values[i, j - 1] if j else 0
                    above = values[i - 1, j] if i else 0
                    corner = values[i - 1, j - 1] if i and j else 0
                    predicted = sorted([left, above, left + above - corner])[1]
                    residuals[plane, image, i, j] = (values[i, j] - predicted) % 256
    return residuals


@pytest.mark.parametrize("shape", [(3, 3, 5, 4), (1, 3, 1, 6), (2, 3, 6, 1), (1, 3, 1, 1)])
def test_images_round_trip(shape):
    images = np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)
    residuals = _encode(images)
    before = residuals.copy()
    decoded = storage.decode_images(residuals)
    np.testing.assert_array_equal(decoded, images)
    np.testing.assert_array_equal(residuals, before)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous


def test_smooth_images_round_trip_over_several_blocks():
    ramp = np.add.outer(np.arange(3), np.arange(3)) * 40
    images = (ramp + np.arange(2050 * 3).reshape(2050, 3, 1, 1)).astype(np.uint8)
    decoded = storage.decode_images(_encode(images))
    np.testing.assert_array_equal(decoded, images)


def test_texts():
    words = ["plain", "", "naïve", "猫"]
    encoded = [word.encode() for word in words]
    blob = np.frombuffer(b"".join(encoded), np.uint8)
    texts = storage.decode_texts(blob, np.cumsum([0, *map(len, encoded)]))
    assert texts.tolist() == words
    assert texts.dtype == object


# --- the container ----------------------------------------------------------------------------------------------------


def _toy():
    X, y = np.zeros((4, 2)), np.array([0, 0, 1, -1])
    return NoisyDataset("toy", X, y, {"a": np.array([0, 1, 1, 0]), "b": np.array([-1, 1, 0, 0])}, X, y, ("cat", "dog"))


def test_noise_rates_count_known_labels_only():
    assert _toy().noise_rates == {"a": pytest.approx(1 / 3), "b": 1.0}


def test_dataset_is_short_to_read_frozen_and_picklable():
    data = _toy()
    assert repr(data).startswith("NoisyDataset('toy': 4 training rows of shape (2,), 4 test rows, 2 classes, noise: a ")
    with pytest.raises(AttributeError):
        data.name = "other"
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy.X_train, data.X_train)
    assert copy.text_train is None
    assert copy.extra == {}


# --- where the files are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", LOADERS)
def test_without_a_folder(load, monkeypatch):
    monkeypatch.delenv("ROBUSTLABELS_DATA", raising=False)
    monkeypatch.setattr(published, "_DEBIAN_FASHION_MNIST", Path("nowhere"))
    with pytest.raises(
        FileNotFoundError,
        match=r"\w+\.npz cannot be read, because no data folder is set.*data_home= .*ROBUSTLABELS_DATA",
    ):
        load()


@pytest.mark.parametrize("load", LOADERS)
def test_missing_file(load, monkeypatch, tmp_path):
    monkeypatch.setattr(published, "_DEBIAN_FASHION_MNIST", Path("nowhere"))
    with pytest.raises(FileNotFoundError, match=r"\w+\.npz is not in .* \(from data_home\)") as caught:
        load(data_home=tmp_path)
    assert str(tmp_path) in str(caught.value)
    monkeypatch.setenv("ROBUSTLABELS_DATA", str(tmp_path / "env"))
    with pytest.raises(FileNotFoundError, match=r"env \(from ROBUSTLABELS_DATA\)"):
        load()


def _write_npz_of_features(folder):
    rng = np.random.default_rng(0)
    y = np.array([3, 1, 4], dtype=np.uint8)
    np.savez(folder / "cifar10_feats.npz", x_train=rng.normal(size=(3, 128)).astype(np.float16), y_train=y,
             x_test=np.ones((1, 128), np.float16), y_test=y[:1])  # fmt: skip
    sources = ("clean", "aggre", "worse", "random1", "random2", "random3")
    np.savez(folder / "cifar10n_labels.npz", **dict.fromkeys(sources, y))


def test_data_home_wins_over_the_environment(monkeypatch, tmp_path):
    _write_npz_of_features(tmp_path)
    monkeypatch.setenv("ROBUSTLABELS_DATA", "nowhere")
    data = load_cifar10_features(data_home=tmp_path)
    assert data.X_train.shape == (3, 128)
    assert data.X_train.dtype == np.float32
    assert data.y_train.dtype == np.int64
    assert data.class_names[data.y_train[0]] == "cat"
    monkeypatch.setenv("ROBUSTLABELS_DATA", str(tmp_path))
    np.testing.assert_array_equal(load_cifar10_features().X_train, data.X_train)


def _write_idx(path, values):
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


def test_fashion_mnist_as_published(monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 5), ("t10k", 2)):
        _write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        _write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(n, dtype=np.uint8))
    data = load_fashion_mnist(idx_folder=tmp_path)
    assert data.X_train.shape == (5, 1, 28, 28)
    assert data.X_test.shape == (2, 1, 28, 28)
    assert data.y_train.tolist() == [0, 1, 2, 3, 4]
    assert data.y_noisy == {}
    assert len(data.class_names) == 10

    monkeypatch.delenv("ROBUSTLABELS_DATA", raising=False)
    monkeypatch.setattr(published, "_DEBIAN_FASHION_MNIST", tmp_path)
    np.testing.assert_array_equal(load_fashion_mnist().X_train, data.X_train)

    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x09abc"))
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz is not a complete IDX file"):
        load_fashion_mnist(idx_folder=tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"no"))
    with pytest.raises(ValueError, match="is not a complete IDX file"):
        load_fashion_mnist(idx_folder=tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte\.gz is not in .* \(from idx_folder\)"):
        load_fashion_mnist(idx_folder=tmp_path)


# --- the real files ---------------------------------------------------------------------------------------------------


@real_data
@pytest.mark.parametrize(
    ("load", "train", "test", "n_classes", "rates"),
    [
        (load_cifar10_features, (50_000, 128), 10_000, 10, {"aggre": 0.0903, "random1": 0.1723, "worse": 0.4021}),
        (load_fashion_mnist, (60_000, 1, 28, 28), 10_000, 10, {}),
        (load_noisyag_news, (10_000, 384), 7_600, 4, {"human": 0.1975}),
        (load_noisyag_crowd, (4_000, 384), 0, 4, {"annotator1": 0.225, "annotator2": 0.209, "annotator3": 0.223}),
        (load_trec, (5_033, 384), 500, 6, {"majority_vote": 0.458}),
        (load_jira_defects, (35_391, 65), 19_176, 2, {"heuristic": 0.112}),
    ],
)
def test_real_data(load, train, test, n_classes, rates):
    data = load()
    assert data.X_train.shape == train
    assert data.X_test.shape == (test, *train[1:])
    assert len(data.class_names) == n_classes
    for labels in (data.y_train, data.y_test, *data.y_noisy.values()):
        assert labels.dtype == np.int64
        assert set(np.unique(labels)) <= {-1, *range(n_classes)}
    for source, rate in rates.items():
        assert data.noise_rates[source] == pytest.approx(rate, abs=6e-4)
    for text, X in ((data.text_train, data.X_train), (data.text_test, data.X_test)):
        assert text is None or len(text) == len(X)


@real_data
def test_real_extras():
    trec, crowd, jira = load_trec(), load_noisyag_crowd(), load_jira_defects()
    assert trec.extra["labeling_functions"].shape == (5_033, 68)
    assert len(trec.extra["X_valid"]) == len(trec.extra["y_valid"]) == len(trec.extra["text_valid"]) == 500
    np.testing.assert_array_equal(crowd.extra["annotations"][:, 1], crowd.y_noisy["annotator2"])
    assert (crowd.y_train >= 0).sum() == 772
    assert not set(jira.extra["release_train"]) & set(jira.extra["release_test"])
    assert "camel-2.11.0" in jira.extra["release_test"]
    assert len(jira.feature_names) == 65


@pytest.mark.slow
@real_data
def test_real_cifar10_images():
    data = load_cifar10()
    assert data.X_train.shape == (50_000, 3, 32, 32)
    np.testing.assert_allclose(data.X_train.mean(axis=(0, 2, 3)) / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)
    features = load_cifar10_features()
    np.testing.assert_array_equal(data.y_train, features.y_train)
    assert data.class_names == features.class_names


# --- image folders ----------------------------------------------------------------------------------------------------


def _save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _solid(value, height=10, width=8):
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def pets(tmp_path):
    """Six images of two classes: cats are dark, dogs bright, each its own shade."""
    for row, name in enumerate(["a.png", "b.png", "c.png"]):
        _save(tmp_path / "cat" / name, _solid(10 + row))
        _save(tmp_path / "dog" / name, _solid(200 + row))
    return tmp_path


def test_image_folder(pets):
    X, y = load_image_folder(pets, size=6)
    assert y.tolist() == ["cat"] * 3 + ["dog"] * 3
    assert [Path(path).name for path in X.paths] == ["a.png", "b.png", "c.png"] * 2
    assert X.shape == (6, 3, 6, 6)
    assert (X.dtype, X.ndim, len(X)) == (np.uint8, 4, 6)
    pixels = X.read([0, 5])
    assert pixels.shape == (2, 3, 6, 6)
    assert pixels.dtype == np.uint8
    assert (pixels[0] == 10).all()
    assert (pixels[1] == 202).all()


def test_nothing_is_decoded_by_loading_and_picking(pets, monkeypatch):
    monkeypatch.setattr(image_files, "_decode_file", lambda *args: pytest.fail("decoded"))
    X, _ = load_image_folder(pets)
    assert len(X[[1, 2]][:1]) == 1


def test_folder_ignores_hidden_files_reads_subfolders_and_names_what_it_leaves_out(pets):
    _save(pets / "cat" / "kittens" / "z.PNG", _solid(13))
    (pets / "cat" / ".DS_Store").write_bytes(b"x")
    (pets / ".git").mkdir()
    (pets / "notes.txt").write_text("beside the class folders")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        X, y = load_image_folder(pets)
    assert len(X) == len(y) == 7
    assert X.paths[3].endswith("z.PNG")
    (pets / "dog" / "readme.txt").write_text("x")
    with pytest.warns(UserWarning, match=r"Left out 1 file\(s\) whose names do not end in \.bmp.*readme\.txt"):
        assert len(load_image_folder(pets)[0]) == 7


def test_extensions(pets):
    _save(pets / "cat" / "d.bmp", _solid(1))
    with pytest.warns(UserWarning, match=r"d\.bmp"):
        X, _ = load_image_folder(pets, extensions=[".png"])
    assert len(X) == 6


def test_corrupt_files(pets):
    jpeg = pets / "cat" / "cut.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    _save(jpeg, noise)
    jpeg.write_bytes(jpeg.read_bytes()[:-600])

    X, _ = load_image_folder(pets)  # its header is fine
    with pytest.raises(OSError, match=r"cut\.jpg is not a readable image .* skip_corrupt=True"):
        X.read(slice(None))
    with pytest.warns(UserWarning, match=r"Left out 1 file\(s\) that are corrupt: .*cut\.jpg"):
        X, y = load_image_folder(pets, skip_corrupt=True)
    assert len(X) == len(y) == 6
    assert X.read(slice(None)).shape == (6, 3, 64, 64)

    (pets / "dog" / "text.png").write_text("not an image")
    with pytest.raises(OSError, match=r"text\.png is not a readable image"):
        load_image_folder(pets)
    with pytest.warns(UserWarning, match=r"Left out 2 file\(s\) that are corrupt: .*cut\.jpg, .*text\.png"):
        load_image_folder(pets, skip_corrupt=True)


def test_many_corrupt_files_are_not_all_named(pets):
    for number in range(12):
        (pets / "cat" / f"bad{number:02}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"Left out 12 .*bad09\.png and 2 more"):
        load_image_folder(pets, skip_corrupt=True)


def test_folder_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing is not a folder"):
        load_image_folder(tmp_path / "missing")
    with pytest.raises(ValueError, match="a subfolder of images for each of two or more classes, it has none"):
        load_image_folder(tmp_path)
    _save(tmp_path / "cat" / "a.png", _solid(0))
    with pytest.raises(ValueError, match="two or more classes, it has only 'cat'"):
        load_image_folder(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match=r"dog has no readable image \(\.bmp"):
        load_image_folder(tmp_path)
    with pytest.raises(ValueError, match="size must be a whole number of pixels, at least 1, got 0"):
        load_image_folder(tmp_path, size=0, skip_corrupt=True)
    with pytest.raises(ValueError, match='mode must be "RGB" or "L", got \'CMYK\''):
        load_image_folder(tmp_path, mode="CMYK", skip_corrupt=True)


# --- the lazy view ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 4),
        slice(None, None, -1),
        [4, 0],
        [],
        np.array([5, 5, 1]),
        np.array([True, False] * 3),
        [False, True] * 3,
        pd.Series([2, 3]),
        (np.array([0, 2]), Ellipsis),
        (slice(2), slice(None), Ellipsis),
        Ellipsis,
    ],
)
def test_rows_are_picked_as_from_an_array(pets, key):
    X, _ = load_image_folder(pets, size=4)
    everything = np.asarray(X)
    part = X[key]
    assert isinstance(part, ImagePaths)
    expected = everything[np.asarray(key) if isinstance(key, pd.Series) else key]
    if isinstance(key, list) and not key:
        expected = everything[:0]
    assert part.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(part), expected)
    np.testing.assert_array_equal(X.read(key[0] if isinstance(key, tuple) else key), expected)


@pytest.mark.parametrize("key", [0, -1, np.int64(3), (2, Ellipsis), (np.int32(1), slice(None))])
def test_one_row_is_an_image(pets, key):
    X, _ = load_image_folder(pets, size=4)
    assert X[key].shape == (3, 4, 4)
    np.testing.assert_array_equal(X[key], np.asarray(X)[key])


def test_wrong_rows(pets):
    X, _ = load_image_folder(pets, size=4)
    for key in (6, [0, 6], np.array([True, False]), np.array([0.5]), (slice(None), 0), (0, 0, 0)):
        with pytest.raises(IndexError):
            X[key]
    with pytest.raises(IndexError, match=r"indexed by rows only; call read\(rows\) first"):
        X[:, 0]


def test_view_as_array(pets):
    X, _ = load_image_folder(pets, size=4)
    assert np.asarray(X).dtype == np.uint8
    assert np.asarray(X, dtype=np.float32).dtype == np.float32
    assert np.array(X[:0]).shape == (0, 3, 4, 4)
    assert X.read(3).shape == (1, 3, 4, 4)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        with pytest.raises(ValueError, match="copy=False"):
            np.asarray(X, copy=False)
    assert repr(X) == "ImagePaths(6 images, size=4, mode='RGB')"


def test_view_pickles_and_hashes_by_value(pets):
    X, _ = load_image_folder(pets, size=4)
    copy = pickle.loads(pickle.dumps(X))
    np.testing.assert_array_equal(np.asarray(copy), np.asarray(X))
    again = ImagePaths([Path(path) for path in X.paths], size=4)
    assert joblib.hash(X) == joblib.hash(copy) == joblib.hash(again) == joblib.hash(X[:])
    assert len({joblib.hash(view) for view in (X, X[:5], X[::-1], ImagePaths(X.paths, size=5))}) == 4


def test_view_from_any_container(pets):
    names = [str(path) for path in sorted(pets.rglob("*.png"))]
    containers = (names, [Path(name) for name in names], np.array(names), np.array(names, dtype=object), tuple(names))
    for paths in (*containers, pd.Series(names, index=range(6, 0, -1)), iter(names)):
        view = ImagePaths(paths)
        assert view.paths.tolist() == names
        assert {type(path) for path in view.paths} == {str}
    given = np.array(names, dtype=object)
    ImagePaths(given).paths[0] = "changed"
    assert given[0] == names[0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("a.png",), TypeError, "must be a list of image files, got the single path 'a.png'"),
        ((Path("a.png"),), TypeError, "the single path"),
        ((["a.png", 3],), TypeError, "paths must hold str or Path, got 3 in row 1"),
        ((pd.Series(["a.png", None]),), TypeError, "got (None|nan) in row 1"),
        ((np.array([["a.png"]]),), ValueError, r"paths must be 1-D, got shape \(1, 1\)"),
        ((["a.png"], 0), ValueError, "size must be a whole number of pixels, at least 1, got 0"),
        ((["a.png"], 2.5), ValueError, r"got 2\.5"),
        ((["a.png"], True), ValueError, "got True"),
        ((["a.png"], 8, "HSV"), ValueError, 'mode must be "RGB" or "L", got \'HSV\''),
    ],
)
def test_view_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        ImagePaths(*arguments)


def test_missing_image_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ImagePaths(["nowhere.png"]).read([0])


def test_pillow_is_imported_late_and_named_if_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    X = ImagePaths(["a.png"])  # needs none
    with pytest.raises(ImportError, match=r'Images need Pillow: pip install "robustlabels\[images\]"'):
        X.read([0])


# --- decoding ---------------------------------------------------------------------------------------------------------


def test_shorter_side_is_scaled_and_the_center_kept(tmp_path):
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 250  # the center square of a wide image
    _save(tmp_path / "wide.png", pixels)
    _save(tmp_path / "tall.png", pixels.transpose(1, 0, 2).copy())
    for image in ImagePaths([tmp_path / "wide.png", tmp_path / "tall.png"], size=10).read([0, 1]):
        assert (image[:, 2:-2, 2:-2] == 250).all()  # away from the edge, which the resampling filter softens
        assert image.mean() > 240  # 83 without the crop


def test_small_images_are_enlarged_and_exact_ones_untouched(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    _save(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(ImagePaths([tmp_path / "a.png"], size=8)[0], pixels.transpose(2, 0, 1))
    assert ImagePaths([tmp_path / "a.png"], size=20)[0].shape == (3, 20, 20)


def test_modes(tmp_path):
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8)
    _save(tmp_path / "gray.png", gray)
    _save(tmp_path / "deep.png", gray.astype(np.uint16) * 256 + 7)
    Image.fromarray(gray).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([gray, gray, gray, 255 - gray])).save(tmp_path / "alpha.png")
    files = [tmp_path / f"{name}.png" for name in ("gray", "deep", "palette", "alpha")]
    for mode, channels in (("L", 1), ("RGB", 3)):
        for image in ImagePaths(files, size=8, mode=mode).read(slice(None)):
            np.testing.assert_array_equal(image, np.stack([gray] * channels))


def test_orientation_of_the_camera_is_respected(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255  # bright on the left as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: bright at the top
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    image = ImagePaths([tmp_path / "a.png"], size=8)[0]
    assert (image[:, :4] == 255).all()
    assert (image[:, 4:] == 0).all()


def test_large_jpeg_keeps_its_colors(tmp_path):
    pixels = np.zeros((600, 600, 3), np.uint8)
    pixels[:300] = (200, 30, 90)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    image = ImagePaths([tmp_path / "a.jpg"], size=16)[0]
    np.testing.assert_allclose(image[:, 4, 8], (200, 30, 90), atol=4)
    np.testing.assert_allclose(image[:, 12, 8], (0, 0, 0), atol=4)


# --- in scikit-learn --------------------------------------------------------------------------------------------------


def test_scikit_learn_splits_the_view(pets):
    X, y = load_image_folder(pets, size=4)
    for train, test in StratifiedKFold(3).split(X, y):
        for rows in (train, test):
            part = _safe_indexing(X, rows)
            assert isinstance(part, ImagePaths)
            assert part.paths.tolist() == X.paths[rows].tolist()
    mask = y == "dog"
    assert _safe_indexing(X, mask).paths.tolist() == X.paths[mask].tolist()
    assert _safe_indexing(X, slice(2)).shape == (2, 3, 4, 4)
    assert _safe_indexing(X, 0).shape == (3, 4, 4)

    X_train, X_test, y_train, _ = train_test_split(X, y, test_size=2, stratify=y, random_state=0)
    assert isinstance(X_train, ImagePaths)
    assert len(X_train) == len(y_train) == 4
    assert len(X_test) == 2


def test_scikit_learn_scores_a_model_on_the_view(pets):
    X, y = load_image_folder(pets, size=4)
    flatten = FunctionTransformer(lambda images: np.asarray(images).reshape(len(images), -1))
    model = make_pipeline(flatten, KNeighborsClassifier(1))
    assert cross_val_score(model, X, y, cv=3).mean() == 1


def test_instance_dependent_noise_on_the_view(pets):
    X, y = load_image_folder(pets, size=4)
    lazy = InstanceDependentNoise(0.4, random_state=0).flip(y, X)
    np.testing.assert_array_equal(lazy, InstanceDependentNoise(0.4, random_state=0).flip(y, np.asarray(X)))
