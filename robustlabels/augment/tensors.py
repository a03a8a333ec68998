"""Checks and conversions that all augmentations share."""

from typing import Any

import torch
from torch import Generator, Tensor


def working_copy(x: Tensor) -> Tensor:
    """Return the input in float32 or float64, contiguous.

    The operations are several times slower on tensors whose innermost axis has three channels.
    """
    return (x if x.dtype == torch.float64 else x.float()).contiguous()


def like_input(out: Tensor, x: Tensor) -> Tensor:
    """Return the result in the dtype and memory format of the input."""
    out = out.to(x.dtype)
    return out.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else out.contiguous()


def check_images(augment: Any, x: Tensor) -> None:
    """Raise ValueError unless x has four axes."""
    if x.ndim != 4:
        raise ValueError(
            f"{augment} needs images of shape (b, c, h, w), got {tuple(x.shape)}; for tables, use "
            "ColumnCorruption, GaussianNoise or augment=None."
        )


def check_floats(augment: Any, x: Tensor) -> None:
    """Raise ValueError unless x holds floating-point numbers."""
    if not x.is_floating_point():
        raise ValueError(
            f"{augment} needs floats, got {x.dtype}; convert with x.float() first, and divide images of bytes by 255."
        )


def check_probability(p: float) -> None:
    """Raise ValueError unless p is in [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"p must be in [0, 1], got {p}.")


def is_channels_last(x: Tensor) -> bool:
    """Return whether images are in channels-last format only; images of one channel are in both formats."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def draw_device(x: Tensor, generator: Generator | None) -> torch.device:
    """Return the device to draw on: the generator's, because it cannot draw on another, or else the input's."""
    return x.device if generator is None else generator.device
