"""Data sets with known wrong labels, and image folders that are read a batch at a time.

The loaders of published sets return a :class:`NoisyDataset`. They read ``.npz`` files from one folder, which is the
argument ``data_home`` or, by default, the environment variable ``ROBUSTLABELS_DATA``. They download nothing, and the
package contains no data. Check the license that each function states: several sets are for non-commercial use only.
"""

from robustlabels.datasets.folders import load_image_folder
from robustlabels.datasets.published import (
    NoisyDataset,
    load_cifar10,
    load_cifar10_features,
    load_fashion_mnist,
    load_jira_defects,
    load_noisyag_crowd,
    load_noisyag_news,
    load_trec,
)
from robustlabels.image_files import ImagePaths

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
