"""Random views of a batch, made on its device: ``augment(x, generator=None) -> x``.

The whole batch is processed at once, with separate draws for every row, and the input is not changed. Draws come from
`generator`, or by default from PyTorch's own generator, which ``fit`` seeds. Images have shape (b, c, h, w), and their
memory format, contiguous or channels-last, is kept.
"""

from robustlabels.augment.composing import Compose, check, resolve, standard, strong
from robustlabels.augment.images import (
    ColorJitter,
    Cutout,
    HorizontalFlip,
    RandomCrop,
    RandomGrayscale,
    RandomResizedCrop,
)
from robustlabels.augment.randaugment import RandAugment
from robustlabels.augment.tables import ColumnCorruption, FeatureDropout, GaussianNoise

__all__ = [
    "ColorJitter",
    "ColumnCorruption",
    "Compose",
    "Cutout",
    "FeatureDropout",
    "GaussianNoise",
    "HorizontalFlip",
    "RandAugment",
    "RandomCrop",
    "RandomGrayscale",
    "RandomResizedCrop",
    "check",
    "resolve",
    "standard",
    "strong",
]
