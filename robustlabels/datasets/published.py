"""Published data sets with known wrong labels, and the class in which they are returned."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustlabels.datasets.storage import (
    as_labels,
    as_names,
    decode_images,
    decode_texts,
    read_arrays,
    read_idx_folder,
)
from robustlabels.image_files import PathLike

_DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts it
_GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@dataclass(frozen=True, eq=False, repr=False)
class NoisyDataset:
    """A data set with true labels, one or more noisy versions of them, and a clean test set.

    Labels are int64 class numbers, which are positions in `class_names`; -1 means that a label is unknown.

    Parameters
    ----------
    name : str
        Name of the data set.
    X_train : ndarray of shape (n_train, ...)
        Features of shape (n_train, n_features), or uint8 images of shape (n_train, channels, height, width).
    y_train : ndarray of shape (n_train,)
        The true labels.
    y_noisy : dict of str to ndarray of shape (n_train,)
        Labels with real noise, by the name of their source. It is empty if the set has none; simulate noise with
        `robustlabels.noise` then.
    X_test, y_test : ndarray of shape (n_test, ...) and (n_test,)
        A test set with true labels, of length 0 if there is none.
    class_names : tuple of str
        The name of each class number.
    text_train, text_test : ndarray of str objects or None
        The texts that the features were computed from.
    feature_names : tuple of str or None
        The names of a table's columns.
    extra : dict of str to ndarray
        Further arrays, whose keys the documentation of the loader names.

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
        """The fraction of wrong labels in each of `y_noisy`, among the rows where both labels are known."""
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
    """Load CIFAR-10 with the human labels of CIFAR-10N: 50 000 + 10 000 RGB images of 32 x 32 pixels, 10 classes.

    It reads ``cifar10_train_1.npz``, ``cifar10_train_2.npz``, ``cifar10_test.npz`` and ``cifar10n_labels.npz`` in a few
    seconds. License: the authors of the images state none; the human labels are CC BY-NC 4.0 (non-commercial).

    Parameters
    ----------
    data_home : str or Path, default=None
        Folder that holds the files; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` is uint8 of shape (50000, 3, 32, 32) in the original order. `y_noisy` has "aggre" (the majority of
        three annotators, 9 % wrong), "random1", "random2", "random3" (one annotator each, 17-18 % wrong) and "worse" (a
        wrong label of the three if there is one, 40 % wrong).

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
    first, second, test = (read_arrays(data_home, f"cifar10_{part}") for part in ("train_1", "train_2", "test"))
    return NoisyDataset(
        name="cifar10",
        X_train=np.concatenate([decode_images(first["x_med"]), decode_images(second["x_med"])]),
        y_train=as_labels(np.concatenate([first["y"], second["y"]])),
        y_noisy=_cifar10n(data_home),
        X_test=decode_images(test["x_med"]),
        y_test=as_labels(test["y"]),
        class_names=as_names(test["class_names"]),
    )


def load_cifar10_features(*, data_home: PathLike | None = None) -> NoisyDataset:
    """Load CIFAR-10 as 128 features per image, with the human labels of CIFAR-10N.

    These labels have the noise of real images, but training is as fast as on a table. The features are principal
    components of the features of an EfficientNet-lite0 trained on ImageNet. Rows are in the order of
    :func:`load_cifar10`. It reads ``cifar10_feats.npz`` and ``cifar10n_labels.npz``. License: the human labels are
    CC BY-NC 4.0 (non-commercial); the network's weights are Apache-2.0.

    Parameters
    ----------
    data_home : str or Path, default=None
        Folder that holds the files; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` is float32 of shape (50000, 128). `y_noisy` is as in :func:`load_cifar10`.

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
    stored = read_arrays(data_home, "cifar10_feats")
    return NoisyDataset(
        name="cifar10_features",
        X_train=stored["x_train"].astype(np.float32),
        y_train=as_labels(stored["y_train"]),
        y_noisy=_cifar10n(data_home),
        X_test=stored["x_test"].astype(np.float32),
        y_test=as_labels(stored["y_test"]),
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    )


def load_fashion_mnist(*, data_home: PathLike | None = None, idx_folder: PathLike | None = None) -> NoisyDataset:
    """Load Fashion-MNIST: 60 000 + 10 000 gray images of 28 x 28 pixels, 10 classes, clean labels to add noise to.

    It reads ``fashion_mnist.npz`` or, if that file is missing, the four ``*-ubyte.gz`` files in which the set is
    published and which Debian's package ``dataset-fashion-mnist`` installs. License: MIT.

    Parameters
    ----------
    data_home : str or Path, default=None
        Folder that holds the ``.npz`` file; None takes the environment variable ``ROBUSTLABELS_DATA``.
    idx_folder : str or Path, default=None
        Folder that holds the ``.gz`` files. If it is given, `data_home` is ignored. None looks for them where Debian's
        package installs them.

    Returns
    -------
    NoisyDataset
        `X_train` is uint8 of shape (60000, 1, 28, 28). `y_noisy` is empty.

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
            stored = read_arrays(data_home, "fashion_mnist")
        except FileNotFoundError as error:
            if not _DEBIAN_FASHION_MNIST.is_dir():
                raise FileNotFoundError(
                    f"{error} Or set idx_folder= to the folder of the published .gz files."
                ) from None
            stored = read_idx_folder(_DEBIAN_FASHION_MNIST)
    else:
        stored = read_idx_folder(Path(idx_folder))
    return NoisyDataset(
        name="fashion_mnist",
        X_train=stored["x_train"][:, None],
        y_train=as_labels(stored["y_train"]),
        y_noisy={},
        X_test=stored["x_test"][:, None],
        y_test=as_labels(stored["y_test"]),
        class_names=_GARMENTS,
    )


def load_noisyag_news(*, data_home: PathLike | None = None) -> NoisyDataset:
    """Load NoisyAG-News: 10 000 + 7 600 news texts with sentence embeddings, 4 classes, labeled by people.

    19.8 % of the labels are wrong, with large differences between classes: 37 % in Sci/Tech, 6 % in Sports. It reads
    ``noisyag_news.npz``. License: treat it as non-commercial.

    Parameters
    ----------
    data_home : str or Path, default=None
        Folder that holds the file; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` is float32 of shape (10000, 384) and holds MiniLM sentence embeddings of `text_train`. `y_noisy` has
        "human".

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
    stored = read_arrays(data_home, "noisyag_news")
    return NoisyDataset(
        name="noisyag_news",
        X_train=stored["emb_train"].astype(np.float32),
        y_train=as_labels(stored["y_train"]),
        y_noisy={"human": as_labels(stored["y_train_noisy"])},
        X_test=stored["emb_test"].astype(np.float32),
        y_test=as_labels(stored["y_test"]),
        class_names=as_names(stored["class_names"]),
        text_train=decode_texts(stored["text_train"], stored["textoff_train"]),
        text_test=decode_texts(stored["text_test"], stored["textoff_test"]),
    )


def load_noisyag_crowd(*, data_home: PathLike | None = None) -> NoisyDataset:
    """Load 4 000 news texts of NoisyAG-News, each labeled by the same three people, to form a consensus of.

    It reads ``noisyag_crowd4000.npz``. License: treat it as non-commercial.

    Parameters
    ----------
    data_home : str or Path, default=None
        Folder that holds the file; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` is float32 of shape (4000, 384) and holds MiniLM sentence embeddings of `text_train`. `y_train` is
        known for 772 rows and -1 elsewhere. `y_noisy` has "annotator1", "annotator2" and "annotator3" (21-23 % wrong
        each), and `extra` has the same labels as one array "annotations" of shape (4000, 3). There is no test set.

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
    stored = read_arrays(data_home, "noisyag_crowd4000")
    X, annotations = stored["emb"].astype(np.float32), as_labels(stored["annotations"])
    text = decode_texts(stored["text"], stored["textoff"])
    return NoisyDataset(
        name="noisyag_crowd",
        X_train=X,
        y_train=as_labels(stored["gold"]),
        y_noisy={f"annotator{person}": labels.copy() for person, labels in enumerate(annotations.T, start=1)},
        X_test=X[:0],
        y_test=np.empty(0, np.int64),
        class_names=as_names(stored["class_names"]),
        text_train=text,
        text_test=text[:0],
        extra={"annotations": annotations},
    )


def load_trec(*, data_home: PathLike | None = None) -> NoisyDataset:
    """Load TREC questions labeled by rules: 5 033 + 500 questions, 6 classes of answer, 68 labeling functions.

    The majority vote of the rules covers 95 % of the questions and is wrong on 46 % of those. It reads
    ``wrench_trec.npz``. License: research use.

    Parameters
    ----------
    data_home : str or Path, default=None
        Folder that holds the file; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` is float32 of shape (5033, 384) and holds sentence embeddings of `text_train`. `y_noisy` has
        "majority_vote", which is -1 where no rule applies. `extra` has "labeling_functions" of shape (5033, 68), -1
        where a rule abstains, and a clean validation set of 500 rows, "X_valid", "y_valid" and "text_valid".

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
    stored = read_arrays(data_home, "wrench_trec")
    return NoisyDataset(
        name="trec",
        X_train=stored["emb_train"].astype(np.float32),
        y_train=as_labels(stored["y_train"]),
        y_noisy={"majority_vote": as_labels(stored["y_train_mv"])},
        X_test=stored["emb_test"].astype(np.float32),
        y_test=as_labels(stored["y_test"]),
        class_names=as_names(stored["class_names"]),
        text_train=decode_texts(stored["text_train"], stored["textoff_train"]),
        text_test=decode_texts(stored["text_test"], stored["textoff_test"]),
        extra={
            "labeling_functions": as_labels(stored["lf_train"]),
            "X_valid": stored["emb_valid"].astype(np.float32),
            "y_valid": as_labels(stored["y_valid"]),
            "text_valid": decode_texts(stored["text_valid"], stored["textoff_valid"]),
        },
    )


def load_jira_defects(*, data_home: PathLike | None = None) -> NoisyDataset:
    """Load source files with and without a defect: 54 567 files, 65 code metrics, 2 classes, 6 projects, 22 releases.

    The noisy labels come from the usual heuristic, which searches for commits that fix a defect. The true labels come
    from the releases that the developers marked as affected. They differ in 11 % of the training rows, because the
    heuristic misses most of the defective files. 23 % of the rows are repeated in other releases, so the data are split
    by time: the last release of each project is the test set. Defects are rare, so measure F1 or average precision. It
    reads ``jira_defects_dev.npz``. License: the data come from a package under the GPL, version 2 or later.

    Parameters
    ----------
    data_home : str or Path, default=None
        Folder that holds the file; None takes the environment variable ``ROBUSTLABELS_DATA``.

    Returns
    -------
    NoisyDataset
        `X_train` is float32 of shape (n_train, 65), with `feature_names`. `y_noisy` has "heuristic". `extra` has names
        by which to group rows, "release_train", "release_test", "project_train" and "project_test".

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
    stored = read_arrays(data_home, "jira_defects_dev")
    release, project = stored["release"], stored["project"]
    last = np.array([release[project == number].max() for number in range(len(stored["project_names"]))])
    test = release == last[project]  # The releases of a project are numbered in order of time.
    release_names, project_names = stored["release_names"][release], stored["project_names"][project]
    return NoisyDataset(
        name="jira_defects",
        X_train=stored["X"][~test],
        y_train=as_labels(stored["y_clean"][~test]),
        y_noisy={"heuristic": as_labels(stored["y_noisy"][~test])},
        X_test=stored["X"][test],
        y_test=as_labels(stored["y_clean"][test]),
        class_names=("clean", "defective"),
        feature_names=as_names(stored["feature_names"]),
        extra={
            "release_train": release_names[~test],
            "release_test": release_names[test],
            "project_train": project_names[~test],
            "project_test": project_names[test],
        },
    )


def _cifar10n(data_home: PathLike | None) -> dict[str, NDArray[np.int64]]:
    """Return the labels of CIFAR-10N by the name of their source."""
    stored = read_arrays(data_home, "cifar10n_labels")
    return {source: as_labels(stored[source]) for source in ("aggre", "random1", "random2", "random3", "worse")}
