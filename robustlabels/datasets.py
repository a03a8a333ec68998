"""Data with known wrong labels, and image folders read a batch at a time.

The loaders of published sets read ``.npz`` files from one folder, which is the argument ``data_home`` or, by default,
the environment variable ``ROBUSTLABELS_DATA``; nothing is downloaded and no data comes with the package. They return a
:class:`NoisyDataset`. Mind the license that each function states: several sets are for non-commercial use.
"""

import gzip
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlabels.image_files import (
    EXTENSIONS,
    ImagePaths,
    PathLike,
    check_mode,
    check_size,
    files_below,
    is_decodable,
    open_image,
    shorten,
)

__all__ = [
    "ImagePaths",
    "NoisyDataset",
    "load_cifar10",
    "load_cifar10_features",
    "load_fashion_mnist",
    "load_image_folder",
    "load_jira_defects",
    "load_noisyag_crowd",
    "load_noisyag_news",
    "load_trec",
]


_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
_GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False, repr=False)
class NoisyDataset:
    """One data set: the true labels, one or more noisy versions of them, and a clean test part.

    Labels are int64 class numbers into `class_names`; -1 means that a label is not known.

    Parameters
    ----------
    name : str
        What it is called.
    X_train : ndarray of shape (n_train, ...)
        Features (n, d), or uint8 images (n, channels, height, width).
    y_train : ndarray of shape (n_train,)
        The true labels.
    y_noisy : dict of str to ndarray of shape (n_train,)
        Labels with real noise, by the name of their source; empty if the set has none (see `robustlabels.noise`).
    X_test, y_test : ndarray of shape (n_test, ...) and (n_test,)
        A test part with true labels; of length 0 if the set has none.
    class_names : tuple of str
        The name of each class number.
    text_train, text_test : ndarray of str objects or None
        The texts that the features were computed from.
    feature_names : tuple of str or None
        The columns of a table.
    extra : dict of str to ndarray
        What is particular to the set; the function that loads it names the keys.

    Examples
    --------
    >>> import numpy as np
    >>> from robustlabels.datasets import NoisyDataset
    >>> X, y = np.zeros((4, 2)), np.array([0, 0, 1, 1])
    >>> data = NoisyDataset("toy", X, y, {"crowd": np.array([0, 1, 1, 1])}, X[:2], y[:2], ("cat", "dog"))
    >>> data
    NoisyDataset('toy': 4 training rows of shape (2,), 2 test rows, 2 classes, noise: crowd 25.0 %)
    >>> data.noise_rates
    {'crowd': 0.25}
    """

    name: str
    X_train: NDArray[Any]
    y_train: NDArray[np.int64]
    y_noisy: dict[str, NDArray[np.int64]]
    X_test: NDArray[Any]
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]
    text_train: NDArray[np.object_] | None = None
    text_test: NDArray[np.object_] | None = None
    feature_names: tuple[str, ...] | None = None
    extra: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def noise_rates(self) -> dict[str, float]:
        """The fraction of wrong labels in each of `y_noisy`, over the rows where both labels are known."""
        rates = {}
        for source, noisy in self.y_noisy.items():
            known = (noisy >= 0) & (self.y_train >= 0)
            rates[source] = float((noisy != self.y_train)[known].mean())
        return rates

    def __repr__(self) -> str:
        noise = ", ".join(f"{source} {100 * rate:.1f} %" for source, rate in self.noise_rates.items()) or "none"
        return (
            f"NoisyDataset({self.name!r}: {len(self.X_train)} training rows of shape {self.X_train.shape[1:]}, "
            f"{len(self.X_test)} test rows, {len(self.class_names)} classes, noise: {noise})"
        )


def load_cifar10(*, data_home: PathLike | None = None) -> NoisyDataset:
    """CIFAR-10 with the human labels of CIFAR-10N: 50 000 + 10 000 RGB images of 32 x 32 pixels, 10 classes.

    Reads ``cifar10_train_1.npz``, ``cifar10_train_2.npz``, ``cifar10_test.npz`` and ``cifar10n_labels.npz`` in a few
    seconds. License: none stated by the authors of the images; the human labels are CC BY-NC 4.0 (non-commercial).

    Parameters
    ----------
    data_home : str or Path, default=None
        The folder of the files; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` uint8 of shape (50000, 3, 32, 32) in the original order; `y_noisy` has "aggre" (majority of three
        people, 9 % wrong), "random1", "random2", "random3" (one person each, 17-18 %) and "worse" (a wrong one of the
        three if there is any, 40 %).

    Raises
    ------
    FileNotFoundError
        If no folder is given or a file is missing.

    References
    ----------
    .. [1] Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    .. [2] Wei et al., "Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations", ICLR 2022.

    Examples
    --------
    >>> from robustlabels.datasets import load_cifar10
    >>> data = load_cifar10()  # doctest: +SKIP
    >>> data.X_train.shape, data.noise_rates["worse"]  # doctest: +SKIP
    ((50000, 3, 32, 32), 0.40208)
    """
    first, second, test = (_read(data_home, f"cifar10_{part}") for part in ("train_1", "train_2", "test"))
    return NoisyDataset(
        name="cifar10",
        X_train=np.concatenate([_decode_images(first["x_med"]), _decode_images(second["x_med"])]),
        y_train=_labels(np.concatenate([first["y"], second["y"]])),
        y_noisy=_cifar10n(data_home),
        X_test=_decode_images(test["x_med"]),
        y_test=_labels(test["y"]),
        class_names=_names(test["class_names"]),
    )


def load_cifar10_features(*, data_home: PathLike | None = None) -> NoisyDataset:
    """CIFAR-10 as 128 features per image, with the human labels of CIFAR-10N: image noise at the cost of a table.

    The features are principal components of an ImageNet-trained EfficientNet-lite0's, in the order of
    :func:`load_cifar10`. Reads ``cifar10_feats.npz`` and ``cifar10n_labels.npz``. License: the human labels are
    CC BY-NC 4.0 (non-commercial), the network's weights Apache-2.0.

    Parameters
    ----------
    data_home : str or Path, default=None
        The folder of the files; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` float32 of shape (50000, 128); `y_noisy` as in :func:`load_cifar10`.

    Raises
    ------
    FileNotFoundError
        If no folder is given or a file is missing.

    References
    ----------
    .. [1] Wei et al., "Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations", ICLR 2022.

    Examples
    --------
    >>> from robustlabels.datasets import load_cifar10_features
    >>> data = load_cifar10_features()  # doctest: +SKIP
    >>> X, y = data.X_train, data.y_noisy["worse"]  # doctest: +SKIP
    """
    stored = _read(data_home, "cifar10_feats")
    return NoisyDataset(
        name="cifar10_features",
        X_train=stored["x_train"].astype(np.float32),
        y_train=_labels(stored["y_train"]),
        y_noisy=_cifar10n(data_home),
        X_test=stored["x_test"].astype(np.float32),
        y_test=_labels(stored["y_test"]),
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    )


def load_fashion_mnist(*, data_home: PathLike | None = None, idx_folder: PathLike | None = None) -> NoisyDataset:
    """Fashion-MNIST: 60 000 + 10 000 gray images of 28 x 28 pixels, 10 classes, clean labels to add noise to.

    Reads ``fashion_mnist.npz`` or, if that file is not there, the four ``*-ubyte.gz`` files in which the set is
    published and which Debian's package ``dataset-fashion-mnist`` installs. License: MIT.

    Parameters
    ----------
    data_home : str or Path, default=None
        The folder of the ``.npz`` file; None takes the environment variable ``ROBUSTLABELS_DATA``.
    idx_folder : str or Path, default=None
        The folder of the ``.gz`` files; given, they are read and `data_home` is not looked at. By default they are
        looked for in Debian's place.

    Returns
    -------
    NoisyDataset
        `X_train` uint8 of shape (60000, 1, 28, 28); `y_noisy` is empty.

    Raises
    ------
    FileNotFoundError
        If neither form is found.
    ValueError
        If a ``.gz`` file is not in the IDX format.

    References
    ----------
    .. [1] Xiao et al., "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017.

    Examples
    --------
    >>> from robustlabels.datasets import load_fashion_mnist
    >>> from robustlabels.noise import SymmetricNoise
    >>> data = load_fashion_mnist()  # doctest: +SKIP
    >>> y_noisy = SymmetricNoise(0.4, random_state=0).flip(data.y_train)  # doctest: +SKIP
    """
    if idx_folder is None:
        try:
            stored = _read(data_home, "fashion_mnist")
        except FileNotFoundError as error:
            if not _DEBIAN_FASHION_MNIST.is_dir():
                raise FileNotFoundError(f"{error} Or set idx_folder= to the published .gz files.") from None
            stored = _read_idx_folder(_DEBIAN_FASHION_MNIST)
    else:
        stored = _read_idx_folder(Path(idx_folder))
    return NoisyDataset(
        name="fashion_mnist",
        X_train=stored["x_train"][:, None],
        y_train=_labels(stored["y_train"]),
        y_noisy={},
        X_test=stored["x_test"][:, None],
        y_test=_labels(stored["y_test"]),
        class_names=_GARMENTS,
    )


def load_noisyag_news(*, data_home: PathLike | None = None) -> NoisyDataset:
    """NoisyAG-News: 10 000 + 7 600 news texts with sentence embeddings, 4 classes, labeled by people.

    19.8 % of the labels are wrong, and not evenly: 37 % of Sci/Tech, 6 % of Sports. Reads ``noisyag_news.npz``.
    License: treat as non-commercial.

    Parameters
    ----------
    data_home : str or Path, default=None
        The folder of the file; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` float32 of shape (10000, 384), MiniLM sentence embeddings, with `text_train`; `y_noisy` has "human".

    Raises
    ------
    FileNotFoundError
        If no folder is given or the file is missing.

    References
    ----------
    .. [1] Huang et al., "NoisyAG-News: A Benchmark for Addressing Instance-Dependent Noise in Text Classification",
           2024.

    Examples
    --------
    >>> from robustlabels.datasets import load_noisyag_news
    >>> data = load_noisyag_news()  # doctest: +SKIP
    >>> data.noise_rates  # doctest: +SKIP
    {'human': 0.1975}
    """
    stored = _read(data_home, "noisyag_news")
    return NoisyDataset(
        name="noisyag_news",
        X_train=stored["emb_train"].astype(np.float32),
        y_train=_labels(stored["y_train"]),
        y_noisy={"human": _labels(stored["y_train_noisy"])},
        X_test=stored["emb_test"].astype(np.float32),
        y_test=_labels(stored["y_test"]),
        class_names=_names(stored["class_names"]),
        text_train=_texts(stored["text_train"], stored["textoff_train"]),
        text_test=_texts(stored["text_test"], stored["textoff_test"]),
    )


def load_noisyag_crowd(*, data_home: PathLike | None = None) -> NoisyDataset:
    """4 000 news texts of NoisyAG-News, each labeled by the same three people: labels to form a consensus of.

    Reads ``noisyag_crowd4000.npz``. License: treat as non-commercial.

    Parameters
    ----------
    data_home : str or Path, default=None
        The folder of the file; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` float32 of shape (4000, 384), MiniLM sentence embeddings, with `text_train`; `y_train` is known for
        772 rows and -1 elsewhere; `y_noisy` has "annotator1", "annotator2", "annotator3" (21-23 % wrong each) and
        `extra` the same as one array "annotations" of shape (4000, 3). There is no test part.

    Raises
    ------
    FileNotFoundError
        If no folder is given or the file is missing.

    References
    ----------
    .. [1] Huang et al., "NoisyAG-News: A Benchmark for Addressing Instance-Dependent Noise in Text Classification",
           2024.

    Examples
    --------
    >>> from robustlabels.datasets import load_noisyag_crowd
    >>> data = load_noisyag_crowd()  # doctest: +SKIP
    >>> data.extra["annotations"].shape  # doctest: +SKIP
    (4000, 3)
    """
    stored = _read(data_home, "noisyag_crowd4000")
    X, annotations = stored["emb"].astype(np.float32), _labels(stored["annotations"])
    text = _texts(stored["text"], stored["textoff"])
    return NoisyDataset(
        name="noisyag_crowd",
        X_train=X,
        y_train=_labels(stored["gold"]),
        y_noisy={f"annotator{person}": labels.copy() for person, labels in enumerate(annotations.T, start=1)},
        X_test=X[:0],
        y_test=np.empty(0, np.int64),
        class_names=_names(stored["class_names"]),
        text_train=text,
        text_test=text[:0],
        extra={"annotations": annotations},
    )


def load_trec(*, data_home: PathLike | None = None) -> NoisyDataset:
    """TREC questions labeled by rules: 5 033 + 500 questions, 6 kinds of answer, 68 labeling functions.

    The majority vote of the rules covers 95 % of the questions and is wrong on 46 % of those. Reads
    ``wrench_trec.npz``. License: research use.

    Parameters
    ----------
    data_home : str or Path, default=None
        The folder of the file; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` float32 of shape (5033, 384), sentence embeddings, with `text_train`; `y_noisy` has "majority_vote",
        -1 where no rule applies; `extra` has "labeling_functions" of shape (5033, 68), -1 where a rule abstains, and a
        clean validation part of 500 rows, "X_valid", "y_valid" and "text_valid".

    Raises
    ------
    FileNotFoundError
        If no folder is given or the file is missing.

    References
    ----------
    .. [1] Li and Roth, "Learning Question Classifiers", COLING 2002.
    .. [2] Zhang et al., "WRENCH: A Comprehensive Benchmark for Weak Supervision", NeurIPS 2021.

    Examples
    --------
    >>> from robustlabels.datasets import load_trec
    >>> data = load_trec()  # doctest: +SKIP
    >>> covered = data.y_noisy["majority_vote"] >= 0  # doctest: +SKIP
    >>> X, y = data.X_train[covered], data.y_noisy["majority_vote"][covered]  # doctest: +SKIP
    """
    stored = _read(data_home, "wrench_trec")
    return NoisyDataset(
        name="trec",
        X_train=stored["emb_train"].astype(np.float32),
        y_train=_labels(stored["y_train"]),
        y_noisy={"majority_vote": _labels(stored["y_train_mv"])},
        X_test=stored["emb_test"].astype(np.float32),
        y_test=_labels(stored["y_test"]),
        class_names=_names(stored["class_names"]),
        text_train=_texts(stored["text_train"], stored["textoff_train"]),
        text_test=_texts(stored["text_test"], stored["textoff_test"]),
        extra={
            "labeling_functions": _labels(stored["lf_train"]),
            "X_valid": stored["emb_valid"].astype(np.float32),
            "y_valid": _labels(stored["y_valid"]),
            "text_valid": _texts(stored["text_valid"], stored["textoff_valid"]),
        },
    )


def load_jira_defects(*, data_home: PathLike | None = None) -> NoisyDataset:
    """Source files with and without a defect: 54 567 files, 65 code metrics, 2 classes, 6 projects, 22 releases.

    The noisy labels come from the usual heuristic over fix commits, the true ones from the releases that the developers
    marked as affected; 11 % of the training rows differ, the heuristic missing most of the defective files. 23 % of the
    rows repeat, so the split is by time: the last release of each project is the test part. Defects are rare: measure
    F1 or average precision. Reads ``jira_defects_dev.npz``. License: from a package under the GPL, version 2 or later.

    Parameters
    ----------
    data_home : str or Path, default=None
        The folder of the file; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` float32 of shape (n, 65), with `feature_names`; `y_noisy` has "heuristic"; `extra` has names to group
        rows by, "release_train", "release_test", "project_train" and "project_test".

    Raises
    ------
    FileNotFoundError
        If no folder is given or the file is missing.

    References
    ----------
    .. [1] Yatish et al., "Mining Software Defects: Should We Consider Affected Releases?", ICSE 2019.

    Examples
    --------
    >>> from robustlabels.datasets import load_jira_defects
    >>> data = load_jira_defects()  # doctest: +SKIP
    >>> groups = data.extra["release_train"]  # for GroupKFold  # doctest: +SKIP
    """
    stored = _read(data_home, "jira_defects_dev")
    release, project = stored["release"], stored["project"]
    last = np.array([release[project == number].max() for number in range(len(stored["project_names"]))])
    test = release == last[project]  # releases are numbered in order of time within a project
    release_names, project_names = stored["release_names"][release], stored["project_names"][project]
    return NoisyDataset(
        name="jira_defects",
        X_train=stored["X"][~test],
        y_train=_labels(stored["y_clean"][~test]),
        y_noisy={"heuristic": _labels(stored["y_noisy"][~test])},
        X_test=stored["X"][test],
        y_test=_labels(stored["y_clean"][test]),
        class_names=("clean", "defective"),
        feature_names=_names(stored["feature_names"]),
        extra={
            "release_train": release_names[~test],
            "release_test": release_names[test],
            "project_train": project_names[~test],
            "project_test": project_names[test],
        },
    )


def load_image_folder(
    folder: PathLike,
    *,
    size: int = 64,
    mode: str = "RGB",
    skip_corrupt: bool = False,
    extensions: Sequence[str] = EXTENSIONS,
) -> tuple[ImagePaths, NDArray[np.str_]]:
    """Images sorted into one subfolder per class, as a lazy X and the classes' names as y.

    Classes come in alphabetical order and a class's files in order of their path, folders below it included. Names that
    start with a dot are ignored. Needs Pillow: ``pip install "robustlabels[images]"``.

    Parameters
    ----------
    folder : str or Path
        Contains the subfolders; their names are the labels.
    size : int, default=64
        Height and width of the decoded images.
    mode : {"RGB", "L"}, default="RGB"
        Color, 3 channels, or gray, 1 channel.
    skip_corrupt : bool, default=False
        True decodes every file once, leaves out those that cannot be read and names them in a warning. False only
        looks at the beginning of each file, so that a file that is no image is named at once, but one that is cut off
        is named when it is read.
    extensions : sequence of str, default=(".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ...)
        How the names of image files end, in lower or upper case. Others are left out with a warning.

    Returns
    -------
    X : ImagePaths
        The lazy images, of shape (n_images, channels, size, size).
    y : ndarray of shape (n_images,), dtype str
        The class names.

    Raises
    ------
    FileNotFoundError
        If `folder` is not a folder.
    ValueError
        If there are fewer than two subfolders, or no image in one of them.
    OSError
        If a file is not an image; the message names it.
    ImportError
        If Pillow is not installed.

    Examples
    --------
    >>> from robustlabels.datasets import load_image_folder
    >>> X, y = load_image_folder("pets", size=64)  # doctest: +SKIP
    >>> X  # doctest: +SKIP
    ImagePaths(7349 images, size=64, mode='RGB')
    """
    size, mode, root = check_size(size), check_mode(mode), Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder.")
    class_folders = sorted(child for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    if len(class_folders) < 2:
        names = f"only {class_folders[0].name!r}" if class_folders else "none"
        raise ValueError(f"{root} must have a subfolder of images for each of two or more classes, it has {names}.")
    endings = tuple(ending.lower() for ending in extensions)
    paths: list[str] = []
    labels: list[str] = []
    other: list[str] = []
    corrupt: list[str] = []
    for class_folder in class_folders:
        images = []
        for path in files_below(class_folder):
            if not path.lower().endswith(endings):
                other.append(path)
            elif skip_corrupt and not is_decodable(path, size, mode):
                corrupt.append(path)
            else:
                images.append(path)
        if not images:
            raise ValueError(f"{class_folder} has no readable image ({', '.join(endings)}): add some or remove it.")
        if not skip_corrupt:
            for path in images:
                open_image(path).close()
        paths += images
        labels += [class_folder.name] * len(images)
    for left_out, reason in ((other, f"whose names do not end in {', '.join(endings)}"), (corrupt, "that are corrupt")):
        if left_out:
            warnings.warn(f"Left out {len(left_out)} file(s) {reason}: {shorten(left_out)}.", stacklevel=2)
    return ImagePaths(paths, size=size, mode=mode), np.array(labels)


# What is stored: .npz files, images as residuals, texts as one blob; and the IDX files of the MNIST family.


def _read(data_home: PathLike | None, name: str) -> dict[str, NDArray[Any]]:
    """Arrays of ``name.npz`` in the data folder."""
    home = data_home if data_home is not None else os.environ.get("ROBUSTLABELS_DATA")
    way_out = "Set data_home= or the environment variable ROBUSTLABELS_DATA to the folder that holds it."
    if not home:
        raise FileNotFoundError(f"{name}.npz: no data folder is known. {way_out}")
    path = Path(home).expanduser() / f"{name}.npz"
    if not path.is_file():
        source = "ROBUSTLABELS_DATA" if data_home is None else "data_home"
        raise FileNotFoundError(f"{name}.npz is not in {path.parent} (from {source}). {way_out}")
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _read_idx_folder(folder: Path) -> dict[str, NDArray[Any]]:
    """Fashion-MNIST as published: four gzipped IDX files."""
    return {
        f"{letter}_{part}": _read_idx(folder / f"{prefix}-{kind}-ubyte.gz")
        for part, prefix in (("train", "train"), ("test", "t10k"))
        for letter, kind in (("x", "images-idx3"), ("y", "labels-idx1"))
    }


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of bytes: two zeros, 8 for uint8, the number of axes, big-endian int32 lengths, the values."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not in {path.parent} (from idx_folder).")
    with gzip.open(path) as stream:
        content = stream.read()
    header = np.frombuffer(content, ">i4", count=1 + content[3]) if content[:3] == b"\0\0\x08" else ()
    shape = tuple(int(length) for length in header[1:])
    if not shape or len(content) != 4 * len(header) + int(np.prod(shape)):
        raise ValueError(f"{path} is not a complete IDX file of bytes.")
    return np.frombuffer(content, np.uint8, offset=4 * len(header)).reshape(shape).copy()


def _decode_images(residuals: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels from prediction residuals: (3, n, height, width) -> (n, 3, height, width), modulo 256.

    The planes are green, red - green and blue - green. In each, a pixel was predicted from its neighbors on the left,
    above and in the corner between them as the median of left, above and left + above - corner (Weinberger et al.,
    "The LOCO-I lossless image compression algorithm", 2000, eq. 1), zero standing for neighbors outside the image.
    """
    n_planes, n_images, height, width = residuals.shape
    planes = np.empty((n_planes, n_images, height, width), np.uint8)
    for start in range(0, n_images, 2048):  # a block of images stays in the processor's cache
        block = np.ascontiguousarray(residuals[:, start : start + 2048].transpose(2, 3, 0, 1))  # (h, w, planes, b)
        pixels = np.zeros((height + 1, width + 1, *block.shape[2:]), np.int16)  # with a border of zeros
        for row in range(height):
            for column in range(width):
                corner, above, left = pixels[row, column], pixels[row, column + 1], pixels[row + 1, column]
                median = np.clip(left + above - corner, np.minimum(left, above), np.maximum(left, above))
                pixels[row + 1, column + 1] = (block[row, column] + median) & 255
        planes[:, start : start + 2048] = pixels[1:, 1:].transpose(2, 3, 0, 1)
    green, red, blue = planes
    return np.stack([red + green, green, blue + green], axis=1)


def _texts(blob: NDArray[np.uint8], offsets: NDArray[np.integer[Any]]) -> NDArray[np.object_]:
    """Texts from their utf-8 bytes, one after another, and the n + 1 places where they start and end."""
    content = blob.tobytes()
    texts = np.empty(len(offsets) - 1, dtype=object)
    texts[:] = [content[start:stop].decode() for start, stop in pairwise(offsets.tolist())]
    return texts


def _cifar10n(data_home: PathLike | None) -> dict[str, NDArray[np.int64]]:
    stored = _read(data_home, "cifar10n_labels")
    return {source: _labels(stored[source]) for source in ("aggre", "random1", "random2", "random3", "worse")}


def _labels(values: NDArray[Any]) -> NDArray[np.int64]:
    return values.astype(np.int64)


def _names(values: NDArray[Any]) -> tuple[str, ...]:
    return tuple(values.tolist())


# Image files. Pillow is imported when the first one is opened.
