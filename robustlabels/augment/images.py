"""Random views of images (b, c, h, w)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from robustlabels.augment.tensors import (
    check_floats,
    check_images,
    check_probability,
    draw_device,
    is_channels_last,
    like_input,
    working_copy,
)


@dataclass(frozen=True)
class RandomCrop:
    """Shift each image at random by up to `padding` pixels: pad it on all sides and crop it to its own size.

    Parameters
    ----------
    padding : int, default=4
        Number of pixels added on each side.
    fill : float, default=0
        Value of the added pixels.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import RandomCrop
    >>> RandomCrop(padding=1)(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 3, 32, 32])
    """

    padding: int = 4
    fill: float = 0

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding must be 0 or more, got {self.padding}.")

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Shift images (b, c, h, w)."""
        check_images(self, x)
        offsets = torch.randint(
            0, 2 * self.padding + 1, (2, len(x)), generator=generator, device=draw_device(x, generator)
        )
        top, left = offsets.to(x.device)
        return crop(x, top, left, self.padding, self.fill)


def crop(x: Tensor, top: Tensor, left: Tensor, padding: int, fill: float = 0) -> Tensor:
    """Return the crop of each padded image i that starts at row top[i] and column left[i]."""
    b, c, h, w = x.shape
    padded = F.pad(x, (padding,) * 4, value=fill)
    # Both branches read the crops of all images in one indexing operation; a loop over images would be far slower.
    if is_channels_last(x):  # Channels stay innermost, so that the result need not be copied again.
        rows = torch.arange(b, device=x.device)
        windows = padded.permute(0, 2, 3, 1).unfold(1, h, 1).unfold(2, w, 1)  # (b, 2p+1, 2p+1, c, h, w), a view
        return windows.permute(0, 1, 2, 4, 5, 3)[rows, top, left].permute(0, 3, 1, 2)
    image = torch.arange(b * c, device=x.device).view(b, c, 1)
    line = image * padded.shape[2] + top.view(b, 1, 1) + torch.arange(h, device=x.device)  # (b, c, h), lines to keep
    start = line * padded.shape[3] + left.view(b, 1, 1)  # first pixel of each line in the flattened batch
    return padded.contiguous().view(-1).unfold(0, w, 1).index_select(0, start.view(-1)).view(b, c, h, w)


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror some images left to right. Do not use it on digits and letters.

    Parameters
    ----------
    p : float, default=0.5
        Probability that an image is mirrored.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import HorizontalFlip
    >>> HorizontalFlip(p=1)(torch.tensor([[[[1.0, 2.0, 3.0]]]]))
    tensor([[[[3., 2., 1.]]]])
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        check_probability(self.p)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Mirror images (b, c, h, w)."""
        check_images(self, x)
        u = torch.rand(len(x), generator=generator, device=draw_device(x, generator))
        return flip(x, (u < self.p).to(x.device))


def flip(x: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images whose entry of mask (b,) is true."""
    if is_channels_last(x):
        return torch.where(mask[:, None, None, None], x.flip(3), x)
    b, c, h, w = x.shape
    column = torch.arange(w, device=x.device)
    column = torch.where(mask[:, None], column.flip(0), column)  # (b, w), the source of each column
    return x.reshape(b, c * h, w).gather(2, column[:, None].expand(b, c * h, w)).view(b, c, h, w)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crop a random box of each image and resize it to the size of the input, with bilinear interpolation.

    The share of the area is uniform, and the aspect ratio is log-uniform. The ratio is relative to the image's own,
    which makes no difference for square images and keeps the share exact for long ones. A side that is longer than the
    image's is clipped to it. The edges of a box may lie within pixels.

    Parameters
    ----------
    scale : tuple of two floats, default=(0.2, 1.0)
        Smallest and largest share of the area.
    ratio : tuple of two floats, default=(3/4, 4/3)
        Smallest and largest ratio of width to height, before resizing.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import RandomResizedCrop
    >>> RandomResizedCrop(scale=(0.6, 1))(torch.ones(8, 3, 32, 32)).shape
    torch.Size([8, 3, 32, 32])
    """

    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        for name in ("scale", "ratio"):
            least, largest = getattr(self, name)
            object.__setattr__(self, name, (least, largest))  # A tuple, so that the frozen dataclass can be hashed.
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be (least, largest) with 0 < least <= largest <= 1, got {self.scale}.")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio must be (least, largest) with 0 < least <= largest < inf, got {self.ratio}.")

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Crop and resize images (b, c, h, w) of floats."""
        check_images(self, x)
        check_floats(self, x)
        return resized_crop(x, *self._draw(len(x), generator, draw_device(x, generator)).to(x.device))

    def _draw(self, b: int, generator: Generator | None, device: torch.device) -> Tensor:
        """Return top, left, height and width of b boxes as fractions of the image, (4, b)."""
        u = torch.rand(4, b, generator=generator, device=device)
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * u[0]
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        root = (0.5 * (low + (high - low) * u[1])).exp()  # square root of the aspect ratio
        height, width = (area.sqrt() / root).clamp(max=1), (area.sqrt() * root).clamp(max=1)
        return torch.stack([u[2] * (1 - height), u[3] * (1 - width), height, width])


def resized_crop(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Crop each image i to box i and resize it; the four numbers (b,) are fractions of the image's sides."""
    work = working_copy(x)

    def centers(start: Tensor, extent: Tensor, size: int) -> Tensor:
        """Return where the centers of the new pixels lie in the input, whose edges grid_sample places at -1 and 1."""
        even = (2 * torch.arange(size, device=x.device, dtype=work.dtype) + 1) / size  # in (0, 2)
        return 2 * start.to(work.dtype)[:, None] + extent.to(work.dtype)[:, None] * even - 1  # (b, size)

    b, _, h, w = x.shape
    rows, columns = centers(top, height, h)[:, :, None], centers(left, width, w)[:, None]
    grid = torch.stack([columns.expand(b, h, w), rows.expand(b, h, w)], 3)  # (b, h, w, 2)
    return like_input(F.grid_sample(work, grid, padding_mode="border", align_corners=False), x)


# A pixel is the sum of its luma (the Y of YIQ) and its color. _COLOR is the projection onto the color; _TURN rotates
# it by a quarter of the circle. Every change of hue and saturation is a linear combination of both.
GRAY = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
_TO_YUV = torch.stack([GRAY, 0.492 * (torch.eye(3)[2] - GRAY), 0.877 * (torch.eye(3)[0] - GRAY)])
_QUARTER = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)  # in YUV
_TURN = torch.linalg.solve(_TO_YUV, _QUARTER @ _TO_YUV)  # in RGB
_COLOR = torch.eye(3) - GRAY.expand(3, 3)


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue of each image, in this order.

    Brightness multiplies all pixels. Contrast moves them towards or away from the mean gray of the image, and
    saturation towards or away from their own gray. Hue rotates the colors around the gray axis, which is a rotation of
    the I-Q plane of YIQ. Together, they are one 3 x 3 matrix and one shift per image. For images without 3 channels,
    only brightness and contrast change.

    If all values of the batch are in [0, 1], the result is clipped to [0, 1] once, at the end. Otherwise it is not
    clipped, because the pixels may be from 0 to 16, or standardized.

    Parameters
    ----------
    brightness, contrast, saturation : float, default=0.4
        Factors are uniform in [1 - value, 1 + value], but at least 0.
    hue : float, default=0.1
        Rotations are uniform in [-hue, hue], as fractions of the circle; at most 0.5.
    p : float, default=0.8
        Probability that an image is changed.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import ColorJitter
    >>> ColorJitter()(torch.rand(8, 3, 32, 32)).shape
    torch.Size([8, 3, 32, 32])
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    p: float = 0.8

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number of 0 or more, got {getattr(self, name)}.")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue must be a fraction of the circle in [0, 0.5], got {self.hue}.")
        check_probability(self.p)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Change the colors of images (b, c, h, w) of floats."""
        check_images(self, x)
        check_floats(self, x)
        return jitter(x, *self._draw(len(x), generator, draw_device(x, generator)).to(x.device))

    def _draw(self, b: int, generator: Generator | None, device: torch.device) -> Tensor:
        """Return three factors and a rotation for each of b images, (4, b); 1, 1, 1 and 0 for unchanged images."""
        u = torch.rand(5, b, generator=generator, device=device)
        changed = u[4] < self.p
        factors = [
            torch.where(changed, low + (1 + value - low) * u[i], 1.0)
            for i, value in enumerate([self.brightness, self.contrast, self.saturation])
            for low in [max(0.0, 1 - value)]
        ]
        return torch.stack([*factors, torch.where(changed, self.hue * (2 * u[3] - 1), 0.0)])


def jitter(x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Change image i by the factors brightness[i], contrast[i] and saturation[i] and a rotation of hue[i] circles."""
    work = working_copy(x)
    brightness, contrast, saturation, hue = (
        v.to(work.dtype)[:, None, None] for v in (brightness, contrast, saturation, hue)
    )
    pixels = work.flatten(2)  # (b, c, h * w)
    mean = pixels.mean(2, True)  # (b, c, 1)
    gray = (GRAY.to(work, non_blocking=True)[:, None] * mean).sum(1, True) if x.shape[1] == 3 else mean.mean(1, True)
    # The shift, (b, 1, 1), is the same in all channels. It is gray, so saturation and hue do not change it.
    shift = (1 - contrast) * brightness * gray
    factor = contrast * brightness
    if x.shape[1] == 3:
        color, turn = (m.to(work, non_blocking=True) for m in (_COLOR, _TURN))
        angle = 2 * math.pi * hue
        # The matrix is built as identity plus difference, so that factors of 1 and no rotation give the input exactly.
        matrix = (saturation * angle.cos() - 1) * color + saturation * angle.sin() * turn
        matrix = factor * (torch.eye(3, device=x.device, dtype=work.dtype) + matrix)  # (b, 3, 3)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 has only 8 significant bits
            out = torch.baddbmm(shift, matrix, pixels)
    else:
        out = shift + factor * pixels
    low, high = pixels.aminmax()
    # The limits are computed on the device: an if would wait for it.
    in_unit = (low >= 0) & (high <= 1)
    out = out.clamp(torch.where(in_unit, 0.0, -math.inf).to(out), torch.where(in_unit, 1.0, math.inf).to(out))
    return like_input(out.unflatten(2, x.shape[2:]), x)


@dataclass(frozen=True)
class RandomGrayscale:
    """Turn some images gray: all three channels become the luma. Images without three channels do not change.

    Parameters
    ----------
    p : float, default=0.2
        Probability that an image turns gray.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import RandomGrayscale
    >>> RandomGrayscale(p=1)(torch.tensor([[[[1.0]], [[0.0]], [[0.0]]]])).flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """

    p: float = 0.2

    def __post_init__(self) -> None:
        check_probability(self.p)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Turn images (b, c, h, w) of floats gray."""
        check_images(self, x)
        check_floats(self, x)
        if x.shape[1] != 3:
            return x
        u = torch.rand(len(x), generator=generator, device=draw_device(x, generator))
        return grayscale(x, (u < self.p).to(x.device))


def grayscale(x: Tensor, mask: Tensor) -> Tensor:
    """Set all channels to the luma in the images whose entry of mask (b,) is true."""
    work = working_copy(x)
    gray = (GRAY.to(work, non_blocking=True)[:, None, None] * work).sum(1, True).to(x.dtype)  # (b, 1, h, w)
    return like_input(torch.where(mask[:, None, None, None], gray, work.to(x.dtype)), x)


@dataclass(frozen=True)
class Cutout:
    """Fill a random square of each image with gray (DeVries and Taylor 2017).

    The center of the square is uniform over the image. As in the code of FixMatch's authors, a square that extends
    beyond the top or left edge is moved inside, and one that extends beyond the bottom or right edge is cut off. Their
    code fills one row and one column more.

    Parameters
    ----------
    size : int, default=16
        Side of the square in pixels.
    fill : float, default=0.5
        Value of its pixels.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import Cutout
    >>> (Cutout(size=2)(torch.zeros(1, 1, 32, 32), torch.Generator().manual_seed(0)) == 0.5).sum()
    tensor(4)
    """

    size: int = 16
    fill: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be 1 or more, got {self.size}.")

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Fill squares of images (b, c, h, w)."""
        check_images(self, x)
        row, column = torch.rand(2, len(x), generator=generator, device=draw_device(x, generator)).to(x.device)
        return cut_out(x, row, column, self.size, self.fill)


def cut_out(x: Tensor, row: Tensor, column: Tensor, size: int, fill: float) -> Tensor:
    """Fill a square around (row[i], column[i]) in image i; both (b,) are fractions of the image's sides."""
    inside = []
    for center, side in ((row, x.shape[2]), (column, x.shape[3])):
        start = (center * side - size / 2).clamp_min(0).long()[:, None]  # (b, 1)
        line = torch.arange(side, device=x.device)
        inside.append((line >= start) & (line < start + size))  # (b, side)
    box = inside[0][:, None, :, None] & inside[1][:, None, None]
    return x.clone().masked_fill_(box, fill)
