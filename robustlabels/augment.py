"""Random views of a batch, made on its device: ``augment(x, generator=None) -> x``.

Every row gets draws of its own, the whole batch at once, and the input is left as it is. Draws come from `generator`,
or from the default generator of torch, which ``fit`` seeds. Images are (b, c, h, w); contiguous or channels_last stays.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from robustlabels.modules import closest

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

Augment = Callable[..., Tensor]


# -- Images -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomCrop:
    """Pad each image all round and cut its own size out again, somewhere: a shift of up to `padding` pixels.

    Parameters
    ----------
    padding : int, default=4
        Pixels added on each side.
    fill : float, default=0
        Their value.

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
        _check_images(self, x)
        offsets = torch.randint(0, 2 * self.padding + 1, (2, len(x)), generator=generator, device=_device(x, generator))
        top, left = offsets.to(x.device)
        return _crop(x, top, left, self.padding, self.fill)


def _crop(x: Tensor, top: Tensor, left: Tensor, padding: int, fill: float = 0) -> Tensor:
    """Image i of the padded batch, from row top[i] and column left[i] on."""
    b, c, h, w = x.shape
    padded = F.pad(x, (padding,) * 4, value=fill)
    if _is_channels_last(x):  # one gather with channels innermost, so that it need not be copied again
        rows = torch.arange(b, device=x.device)
        windows = padded.permute(0, 2, 3, 1).unfold(1, h, 1).unfold(2, w, 1)  # (b, 2p+1, 2p+1, c, h, w), a view
        return windows.permute(0, 1, 2, 4, 5, 3)[rows, top, left].permute(0, 3, 1, 2)
    image = torch.arange(b * c, device=x.device).view(b, c, 1)
    line = image * padded.shape[2] + top.view(b, 1, 1) + torch.arange(h, device=x.device)  # (b, c, h): lines to keep
    start = line * padded.shape[3] + left.view(b, 1, 1)  # where each begins, in one long line of all pixels
    return padded.contiguous().view(-1).unfold(0, w, 1).index_select(0, start.view(-1)).view(b, c, h, w)


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror some images left to right. Not for digits and letters.

    Parameters
    ----------
    p : float, default=0.5
        Probability of each image to be mirrored.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import HorizontalFlip
    >>> HorizontalFlip(p=1)(torch.tensor([[[[1.0, 2.0, 3.0]]]]))
    tensor([[[[3., 2., 1.]]]])
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_probability(self.p)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Mirror images (b, c, h, w)."""
        _check_images(self, x)
        u = torch.rand(len(x), generator=generator, device=_device(x, generator))
        return _flip(x, (u < self.p).to(x.device))


def _flip(x: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images where mask (b,) is true."""
    if _is_channels_last(x):
        return torch.where(mask[:, None, None, None], x.flip(3), x)
    b, c, h, w = x.shape
    column = torch.arange(w, device=x.device)
    column = torch.where(mask[:, None], column.flip(0), column)  # (b, w): which column goes where
    return x.reshape(b, c * h, w).gather(2, column[:, None].expand(b, c * h, w)).view(b, c, h, w)


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut a random box out of each image and stretch it to the input's size, bilinearly.

    The box has a uniform share of the area and a log-uniform aspect, relative to the image's own (which is the same for
    square images, and keeps the share right for long ones). A side longer than the image's is clipped to it. Edges need
    not fall between pixels.

    Parameters
    ----------
    scale : tuple of two floats, default=(0.2, 1.0)
        Least and largest share of the area.
    ratio : tuple of two floats, default=(3/4, 4/3)
        Least and largest width / height, before stretching.

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
            object.__setattr__(self, name, (least, largest))  # hashable, whatever pair was given
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be (least, largest) with 0 < least <= largest <= 1, got {self.scale}.")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio must be (least, largest) with 0 < least <= largest, got {self.ratio}.")

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Cut and stretch images (b, c, h, w) of floats."""
        _check_images(self, x)
        _check_floats(self, x)
        return _resized_crop(x, *self._draw(len(x), generator, _device(x, generator)).to(x.device))

    def _draw(self, b: int, generator: Generator | None, device: torch.device) -> Tensor:
        """Top, left, height and width of b boxes as fractions of the image: (4, b)."""
        u = torch.rand(4, b, generator=generator, device=device)
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * u[0]
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        root = (0.5 * (low + (high - low) * u[1])).exp()  # square root of the aspect
        height, width = (area.sqrt() / root).clamp(max=1), (area.sqrt() * root).clamp(max=1)
        return torch.stack([u[2] * (1 - height), u[3] * (1 - width), height, width])


def _resized_crop(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Image i seen through the box of row i, whose four numbers (b,) are fractions of the image's sides."""
    work = _to_work(x)

    def centers(start: Tensor, extent: Tensor, size: int) -> Tensor:  # of the pixels to be; -1 and 1: the image's edges
        even = (2 * torch.arange(size, device=x.device, dtype=work.dtype) + 1) / size  # in (0, 2)
        return 2 * start.to(work.dtype)[:, None] + extent.to(work.dtype)[:, None] * even - 1  # (b, size)

    b, _, h, w = x.shape
    rows, columns = centers(top, height, h)[:, :, None], centers(left, width, w)[:, None]
    grid = torch.stack([columns.expand(b, h, w), rows.expand(b, h, w)], 3)  # (b, h, w, 2)
    return _as_before(F.grid_sample(work, grid, padding_mode="border", align_corners=False), x)


_GRAY = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)  # luma, Y of YIQ
_TO_YUV = torch.stack([_GRAY, 0.492 * (torch.eye(3)[2] - _GRAY), 0.877 * (torch.eye(3)[0] - _GRAY)])  # Y, U, V
_QUARTER = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)  # turn in the plane of the colors
_TURN = torch.linalg.solve(_TO_YUV, _QUARTER @ _TO_YUV)  # the same on RGB
_COLOR = torch.eye(3) - _GRAY.expand(3, 3)  # what is not gray


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue of each image, in this order.

    Brightness multiplies; contrast moves away from or towards the image's mean gray; saturation away from or towards
    each pixel's own gray; hue turns the colors around the gray axis (a rotation of the I-Q plane of YIQ). Together
    they are one 3 x 3 matrix and one shift per image. Images not of 3 channels get brightness and contrast alone.

    The result is cut off at 0 and 1, once, at the end, if the whole batch given lies in [0, 1], and nowhere otherwise:
    pixels may be 0..16 or standardized.

    Parameters
    ----------
    brightness, contrast, saturation : float, default=0.4
        Factors are uniform in [1 - value, 1 + value], but at least 0.
    hue : float, default=0.1
        Turns are uniform in [-hue, hue], as fractions of the whole circle: at most 0.5.
    p : float, default=0.8
        Probability of each image to be changed.

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
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}.")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue must be in [0, 0.5], a fraction of the circle, got {self.hue}.")
        _check_probability(self.p)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Change the colors of images (b, c, h, w) of floats."""
        _check_images(self, x)
        _check_floats(self, x)
        return _jitter(x, *self._draw(len(x), generator, _device(x, generator)).to(x.device))

    def _draw(self, b: int, generator: Generator | None, device: torch.device) -> Tensor:
        """Three factors and a turn for each of b images, (4, b); 1, 1, 1 and 0 for those left alone."""
        u = torch.rand(5, b, generator=generator, device=device)
        changed = u[4] < self.p
        factors = [
            torch.where(changed, low + (1 + value - low) * u[i], 1.0)
            for i, value in enumerate([self.brightness, self.contrast, self.saturation])
            for low in [max(0.0, 1 - value)]
        ]
        return torch.stack([*factors, torch.where(changed, self.hue * (2 * u[3] - 1), 0.0)])


def _jitter(x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Image i with factors brightness[i], contrast[i], saturation[i] and a turn of hue[i] circles, each (b,)."""
    work = _to_work(x)
    brightness, contrast, saturation, hue = (
        v.to(work.dtype)[:, None, None] for v in (brightness, contrast, saturation, hue)
    )
    pixels = work.flatten(2)  # (b, c, h * w)
    mean = pixels.mean(2, True)  # (b, c, 1)
    gray = (_GRAY.to(work, non_blocking=True)[:, None] * mean).sum(1, True) if x.shape[1] == 3 else mean.mean(1, True)
    shift = (1 - contrast) * brightness * gray  # (b, 1, 1), the same in all channels: no color to saturate or turn
    factor = contrast * brightness
    if x.shape[1] == 3:
        color, turn = (m.to(work, non_blocking=True) for m in (_COLOR, _TURN))
        angle = 2 * math.pi * hue
        matrix = (saturation * angle.cos() - 1) * color + saturation * angle.sin() * turn  # beyond the identity
        matrix = factor * (torch.eye(3, device=x.device, dtype=work.dtype) + matrix)  # (b, 3, 3)
        with torch.autocast(x.device.type, enabled=False):
            out = torch.baddbmm(shift, matrix, pixels)
    else:
        out = shift + factor * pixels
    low, high = pixels.aminmax()
    in_unit = (low >= 0) & (high <= 1)  # stays on the device: no waiting for it
    out = out.clamp(torch.where(in_unit, 0.0, -math.inf).to(out), torch.where(in_unit, 1.0, math.inf).to(out))
    return _as_before(out.unflatten(2, x.shape[2:]), x)


@dataclass(frozen=True)
class RandomGrayscale:
    """Take the color out of some images: all three channels become luma. Images of other channel counts stay.

    Parameters
    ----------
    p : float, default=0.2
        Probability of each image to become gray.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import RandomGrayscale
    >>> RandomGrayscale(p=1)(torch.tensor([[[[1.0]], [[0.0]], [[0.0]]]])).flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """

    p: float = 0.2

    def __post_init__(self) -> None:
        _check_probability(self.p)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Turn images (b, c, h, w) of floats gray."""
        _check_images(self, x)
        _check_floats(self, x)
        if x.shape[1] != 3:
            return x
        u = torch.rand(len(x), generator=generator, device=_device(x, generator))
        return _grayscale(x, (u < self.p).to(x.device))


def _grayscale(x: Tensor, mask: Tensor) -> Tensor:
    """Luma in all channels of the images where mask (b,) is true."""
    work = _to_work(x)
    gray = (_GRAY.to(work, non_blocking=True)[:, None, None] * work).sum(1, True).to(x.dtype)  # (b, 1, h, w)
    return _as_before(torch.where(mask[:, None, None, None], gray, work.to(x.dtype)), x)


@dataclass(frozen=True)
class Cutout:
    """Paint a square of each image gray, somewhere (DeVries and Taylor 2017).

    The square's center is uniform over the image. One that juts out above or to the left is moved inside, one that juts
    out below or to the right is cut off, as in FixMatch's code; that code paints a row and a column more.

    Parameters
    ----------
    size : int, default=16
        Its side, in pixels.
    fill : float, default=0.5
        The value of gray.

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
        """Paint squares on images (b, c, h, w)."""
        _check_images(self, x)
        row, column = torch.rand(2, len(x), generator=generator, device=_device(x, generator)).to(x.device)
        return _cutout(x, row, column, self.size, self.fill)


def _cutout(x: Tensor, row: Tensor, column: Tensor, size: int, fill: float) -> Tensor:
    """A square around (row[i], column[i]) of image i, both (b,) as fractions of the image's sides."""
    inside = []
    for center, side in ((row, x.shape[2]), (column, x.shape[3])):
        start = (center * side - size / 2).clamp_min(0).long()[:, None]  # (b, 1)
        line = torch.arange(side, device=x.device)
        inside.append((line >= start) & (line < start + size))  # (b, side)
    box = inside[0][:, None, :, None] & inside[1][:, None, None]
    return x.clone().masked_fill_(box, fill)


_OPS = (
    "identity",
    "auto_contrast",
    "equalize",
    "brightness",
    "contrast",
    "color",
    "sharpness",
    "posterize",
    "solarize",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


@dataclass(frozen=True)
class RandAugment:
    """Some operations, drawn for each image from a list of fourteen, at random levels: FixMatch's strong views.

    Identity, automatic contrast, histogram equalization; brightness, contrast, color, sharpness; posterisation,
    solarisation; rotation, shears and translations, which leave black behind. Each does what Pillow's does to bytes. An
    image meets `n_ops` of them, the same one twice perhaps, each with probability `p`. FixMatch (Sohn et al. 2020) puts
    a :class:`~robustlabels.augment.Cutout` after them, which here is a step of its own.

    Pixels are taken to span 0 to 1, or from the smallest to the largest of the batch where that reaches further.
    All images with one operation are worked on at once. The draws are made on the CPU, so that a device need not be
    waited for.

    Parameters
    ----------
    n_ops : int, default=2
        Operations per image.
    magnitude : int, default=10
        Levels are whole numbers from 1 to below this; at most 11.
    p : float, default=0.5
        Probability of each operation to be carried out.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import Compose, Cutout, RandAugment
    >>> Compose([RandAugment(), Cutout(16)])(torch.rand(8, 3, 32, 32)).shape
    torch.Size([8, 3, 32, 32])
    """

    n_ops: int = 2
    magnitude: int = 10
    p: float = 0.5

    def __post_init__(self) -> None:
        if self.n_ops < 0:
            raise ValueError(f"n_ops must be 0 or more, got {self.n_ops}.")
        if not 2 <= self.magnitude <= 11:
            raise ValueError(f"magnitude must be in [2, 11], got {self.magnitude}.")
        _check_probability(self.p)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Change images (b, c, h, w) of floats."""
        _check_images(self, x)
        _check_floats(self, x)
        low, high = x.aminmax()
        low, high = low.clamp_max(0), high.clamp_min(1)
        work = (_to_work(x) - low) / (high - low)
        for ops, levels in zip(*self._draw(len(x), generator), strict=True):
            work = _apply(work, ops, levels)
        return _as_before(low + (high - low) * work, x)

    def _draw(self, b: int, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Which operation each of b images meets, and its level, negative for the other way: two of (n_ops, b)."""
        device = torch.device("cpu") if generator is None else generator.device
        u = torch.rand(4, self.n_ops, b, generator=generator, device=device).cpu()
        ops = torch.where(u[0] < self.p, (len(_OPS) * u[1]).long().clamp_max(len(_OPS) - 1), 0)
        levels = 1 + ((self.magnitude - 1) * u[2]).long().clamp_max(self.magnitude - 2)
        return ops, torch.where(u[3] < 0.5, -levels, levels)


def _apply(x: Tensor, ops: Tensor, levels: Tensor) -> Tensor:
    """Operation ops[i] at level levels[i], each (b,) on the CPU, on image i; pixels from 0 to 1."""
    out = x.clone()
    for names, operation in _OPERATIONS.items():
        numbers = torch.tensor([_OPS.index(name) for name in names])
        rows = torch.isin(ops, numbers).nonzero()[:, 0]
        if len(rows):
            kinds, v = ops[rows] - numbers[0], levels[rows]
            at = rows.to(x.device, non_blocking=True)
            part = x.index_select(0, at)
            out.index_copy_(0, at, operation(part, v, kinds).clamp(0, 1))
    return out


def _per_image(values: Tensor, x: Tensor) -> Tensor:
    """Numbers (b,) made on the CPU, beside x and broadcastable to it."""
    return values.to(x.device, x.dtype, non_blocking=True)[:, None, None, None]


def _bytes(x: Tensor) -> Tensor:
    """Pixels from 0 to 1 as whole numbers from 0 to 255."""
    return (255 * x).round()


def _auto_contrast(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Each channel stretched from black to white."""
    low, high = (m[:, :, None, None] for m in x.flatten(2).aminmax(dim=2))
    return torch.where(high > low, (x - low) / (high - low), x)


def _equalize(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Each channel with as many pixels of every level as can be, by Pillow's whole-number rule."""
    level = _bytes(x).long().flatten(2)  # (m, c, h * w)
    counts = torch.zeros(*level.shape[:2], 256, device=x.device, dtype=torch.int64)
    counts.scatter_add_(2, level, torch.ones_like(level))
    last = level.amax(2, keepdim=True)
    step = (level.shape[2] - counts.gather(2, last)) // 255  # (m, c, 1)
    table = (step // 2 + counts.cumsum(2) - counts) // step.clamp_min(1)
    equal = table.gather(2, level).clamp_max(255).to(x.dtype) / 255
    return torch.where(step > 0, equal, x.flatten(2)).view_as(x)


def _enhance(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Less brightness, contrast (kind 1) or color (kind 2): a share of .05 and .09 a level is left."""
    factor = 0.05 + 0.09 * v.abs().to(torch.float64)
    less = (torch.where(kinds == kind, factor, 1.0).to(x.device, non_blocking=True) for kind in range(3))
    brightness, contrast, color = less
    return _jitter(x, brightness, contrast, color, torch.zeros_like(color))


def _sharpness(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Blended with a blurred copy, in which the edge stays."""
    channels = x.shape[1]
    if min(x.shape[2:]) < 3:
        return x
    kernel = x.new_full((3, 3), 1 / 13)
    kernel[1, 1] = 5 / 13
    blurred = x.clone()
    with torch.autocast(x.device.type, enabled=False):
        blurred[:, :, 1:-1, 1:-1] = F.conv2d(x, kernel.expand(channels, 1, 3, 3), groups=channels)
    return torch.lerp(blurred, x, _per_image(0.05 + 0.09 * v.abs(), x))


def _posterize(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """The upper 4 to 8 bits of each byte."""
    step = _per_image(2 ** (4 - (2 * v.abs()) // 5), x)
    return (_bytes(x) / step).floor() * step / 255


def _solarize(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Pixels above a threshold inverted."""
    return torch.where(_bytes(x) < _per_image(256 - (256 * v.abs()) // 10, x), x, 1 - x)


def _affine(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Rotated by 3 degrees a level, sheared by .03 or shifted by .03 of the side: the pixel where each one comes from.

    Kinds 0 to 4: rotation about the center, shears along x and y from the upper left corner, shifts along x and y.
    """
    m, c, h, w = x.shape
    v = v.to(torch.float64)
    is_ = [kinds == kind for kind in range(5)]
    angle = torch.where(is_[0], -torch.deg2rad(3 * v), 0.0)
    shear_x, shear_y = (torch.where(which, 0.03 * v, 0.0) for which in is_[1:3])
    shift_x, shift_y = (
        torch.where(which, (0.03 * side * v).trunc(), 0.0) for which, side in zip(is_[3:], (w, h), strict=True)
    )
    cos, sin = angle.cos(), angle.sin()
    wide = torch.float32 if x.device.type == "mps" else torch.float64
    to_x = torch.stack([cos, sin + shear_x, shift_x + w / 2 * (1 - cos) - h / 2 * sin], 1)
    to_y = torch.stack([shear_y - sin, cos, shift_y + w / 2 * sin + h / 2 * (1 - cos)], 1)
    to_x, to_y = (t.to(x.device, wide, non_blocking=True)[:, :, None, None] for t in (to_x, to_y))  # (m, 3, 1, 1)
    here_y, here_x = (0.5 + torch.arange(side, device=x.device, dtype=wide) for side in (h, w))
    here_y = here_y[:, None]
    from_x, from_y = ((t[:, 0] * here_x + t[:, 1] * here_y + t[:, 2]).floor().long() for t in (to_x, to_y))  # (m, h, w)
    inside = (from_x >= 0) & (from_x < w) & (from_y >= 0) & (from_y < h)
    place = (from_y.clamp(0, h - 1) * w + from_x.clamp(0, w - 1)).view(m, 1, h * w).expand(m, c, h * w)
    return torch.where(inside[:, None], x.flatten(2).gather(2, place).view_as(x), 0.0)


_OPERATIONS = {
    ("auto_contrast",): _auto_contrast,
    ("equalize",): _equalize,
    ("brightness", "contrast", "color"): _enhance,
    ("sharpness",): _sharpness,
    ("posterize",): _posterize,
    ("solarize",): _solarize,
    ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"): _affine,
}


def _to_work(x: Tensor) -> Tensor:
    """The input in float32 or float64, contiguous: three channels innermost are several times slower."""
    return (x if x.dtype == torch.float64 else x.float()).contiguous()


def _as_before(out: Tensor, x: Tensor) -> Tensor:
    """The result in the dtype and memory format of the input."""
    out = out.to(x.dtype)
    return out.contiguous(memory_format=torch.channels_last) if _is_channels_last(x) else out.contiguous()


def _check_images(augment: Any, x: Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(
            f"{augment} needs images of shape (b, c, h, w), got {tuple(x.shape)}; "
            "for tables there are ColumnCorruption, GaussianNoise, or augment=None."
        )


def _check_floats(augment: Any, x: Tensor) -> None:
    if not x.is_floating_point():
        raise ValueError(f"{augment} needs floats, got {x.dtype}; convert with x.float() (and / 255 for bytes) first.")


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p must be in [0, 1], got {p}.")


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _device(x: Tensor, generator: Generator | None) -> torch.device:
    """Where to draw: a generator draws on its own device only."""
    return x.device if generator is None else generator.device


# -- Tables -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianNoise:
    """Add independent normal noise to every entry.

    Parameters
    ----------
    sd : float
        Standard deviation, in the units of the input.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import GaussianNoise
    >>> GaussianNoise(sd=0)(torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2.]])
    """

    sd: float

    def __post_init__(self) -> None:
        if not self.sd >= 0:
            raise ValueError(f"sd must be 0 or more, got {self.sd}.")

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Add noise to rows of any shape."""
        noise = torch.randn(x.shape, generator=generator, device=_device(x, generator), dtype=x.dtype)
        return x + self.sd * noise.to(x.device)


@dataclass(frozen=True)
class ColumnCorruption:
    """Replace some entries by the value of the same column in another row of the batch, drawn anew for every entry.

    A replaced entry is thus a draw from its column's own distribution (SCARF, Bahri et al. 2022), whatever the column's
    scale; categories stay categories.

    Parameters
    ----------
    rate : float, default=0.4
        Probability of each entry to be replaced.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import ColumnCorruption
    >>> ColumnCorruption(rate=1)(torch.tensor([[1.0, 10.0], [2.0, 20.0]]))
    tensor([[ 2., 20.],
            [ 1., 10.]])
    """

    rate: float = 0.4

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be in [0, 1], got {self.rate}.")

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Corrupt rows (b, d); a batch of one row has nobody to borrow from and keeps its values."""
        if x.ndim != 2:
            raise ValueError(
                f"{self} needs flat rows of shape (b, d), got {tuple(x.shape)}; for images there is RandomResizedCrop, "
                "and GaussianNoise takes any shape."
            )
        device = _device(x, generator)
        mask = torch.rand(x.shape, generator=generator, device=device) < self.rate
        steps = torch.randint(1, max(2, len(x)), x.shape, generator=generator, device=device)
        return _corrupt(x, mask.to(x.device), steps.to(x.device))


def _corrupt(x: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
    """Where mask (b, d) is true, entry (i, j) becomes entry (i + steps[i, j], j), counted around the batch."""
    donors = (torch.arange(len(x), device=x.device)[:, None] + steps) % max(1, len(x))  # (b, d)
    return torch.where(mask, x.gather(0, donors), x)


@dataclass(frozen=True)
class FeatureDropout:
    """Set some entries to 0 and scale the others by 1 / (1 - p), as dropout does: for embeddings.

    Parameters
    ----------
    p : float
        Probability of each entry to be dropped.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import FeatureDropout
    >>> FeatureDropout(p=0)(torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2.]])
    """

    p: float

    def __post_init__(self) -> None:
        if not 0 <= self.p < 1:
            raise ValueError(f"p must be in [0, 1), got {self.p}.")

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Drop entries of rows of any shape."""
        _check_floats(self, x)
        u = torch.rand(x.shape, generator=generator, device=_device(x, generator))
        return _drop(x, (u < self.p).to(x.device), self.p)


def _drop(x: Tensor, mask: Tensor, p: float) -> Tensor:
    """0 where mask, of the shape of x, is true."""
    return (x / (1 - p)).masked_fill_(mask, 0)


# -- Together ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compose:
    """One augmentation after the other.

    Parameters
    ----------
    steps : sequence of callables
        Augmentations, or functions of the batch alone.

    Examples
    --------
    >>> from robustlabels.augment import Compose, HorizontalFlip, RandomCrop
    >>> Compose([RandomCrop(2), HorizontalFlip()])
    Compose(steps=(RandomCrop(padding=2, fill=0), HorizontalFlip(p=0.5)))
    """

    steps: Sequence[Augment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(_with_generator(step) for step in self.steps))

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Apply every step in turn."""
        for step in self.steps:
            x = step(x, generator=generator)
        return x


@dataclass(frozen=True)
class _WithoutGenerator:
    """A function of the batch alone; it draws, if it does, from torch's default generator."""

    function: Augment

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        return self.function(x)


def _with_generator(function: Augment) -> Augment:
    """Wrap `function` unless it takes a generator."""
    if not callable(function):
        raise TypeError(f"an augmentation must be callable as f(x, generator=None) or f(x), got {function!r}.")
    try:
        signature = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except ValueError:  # written in C: nothing to look at
        return _WithoutGenerator(function)
    if "generator" in signature.parameters:
        return function
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(
            f"an augmentation must be callable as f(x, generator=None) or f(x), got {function!r} with {signature}; "
            "bind its other arguments with functools.partial."
        ) from error
    return _WithoutGenerator(function)


def standard(input_shape: tuple[int, ...]) -> Compose:
    """Shift by up to an eighth of the side (4 px on CIFAR) and mirror: what the papers call weak augmentation.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width).

    Examples
    --------
    >>> from robustlabels.augment import standard
    >>> standard((3, 32, 32))
    Compose(steps=(RandomCrop(padding=4, fill=0), HorizontalFlip(p=0.5)))
    """
    if len(input_shape) != 3:
        raise ValueError(
            "augment='standard' needs images, rows of shape (channels, height, width), got rows of shape "
            f"{tuple(input_shape)}; take augment=None, or a callable such as GaussianNoise(sd=0.1)."
        )
    return Compose([RandomCrop(padding=max(1, min(input_shape[1:]) // 8)), HorizontalFlip()])


def strong(input_shape: tuple[int, ...]) -> Compose | ColumnCorruption | None:
    """Views for contrastive training, by the shape of a row.

    Color images of 32 px and more: a box of 20 to 100 % of the area, mirrored, jittered, sometimes gray. Smaller or
    gray images are often digits and letters: never mirrored, boxes of 60 to 100 %. Flat rows: 40 % of the entries from
    other rows. For rows of other shapes, sequences say, no view is known that keeps the class: None.

    Parameters
    ----------
    input_shape : tuple of int
        (channels, height, width) or (features,).

    Examples
    --------
    >>> from robustlabels.augment import strong
    >>> strong((20,))
    ColumnCorruption(rate=0.4)
    >>> strong((1, 28, 28)).steps[0].scale
    (0.6, 1.0)
    """
    if len(input_shape) == 1:
        return ColumnCorruption(0.4)
    if len(input_shape) != 3:
        return None
    crop: list[Augment] = [RandomResizedCrop(scale=(0.6, 1.0))]
    if _is_photo(input_shape):
        crop = [RandomResizedCrop(), HorizontalFlip()]
    return Compose([*crop, ColorJitter(), *([RandomGrayscale()] if input_shape[0] == 3 else [])])


def _is_photo(input_shape: tuple[int, ...]) -> bool:
    return len(input_shape) == 3 and input_shape[0] == 3 and min(input_shape[1:]) >= 32


def resolve(augment: str | Augment | None, input_shape: tuple[int, ...]) -> Augment | None:
    """Turn what the user gave as `augment` into a callable, or None.

    Parameters
    ----------
    augment : {"auto", "standard", "strong"}, callable or None
        "auto" is "standard" for color images of 32 px and more, and nothing for everything else: small or gray images
        are often digits and letters, which must not be mirrored. "strong" is what :func:`strong` gives, None for shapes
        it has no views for. A callable takes ``(x, generator=None)`` or ``(x)``.
    input_shape : tuple of int
        Shape of one row.

    Returns
    -------
    callable or None
        To be called as ``augment(x, generator=generator)``.

    Examples
    --------
    >>> from robustlabels.augment import resolve
    >>> resolve("auto", (1, 28, 28)) is None
    True
    """
    if augment is None:
        return None
    if augment == "standard":
        return standard(input_shape)
    if augment == "auto":
        return standard(input_shape) if _is_photo(input_shape) else None
    if augment == "strong":
        return strong(input_shape)
    if isinstance(augment, str):
        raise ValueError(
            f"augment must be 'auto', 'standard', 'strong', None or a callable, got {augment!r}"
            + closest(augment, ["auto", "standard", "strong"])
        )
    return _with_generator(augment)


def check(augment: Augment, x: Tensor) -> None:
    """Run an augmentation once and raise if what comes back cannot stand in for the batch.

    Torch's random generator is left as found.

    Parameters
    ----------
    augment : callable
        What `resolve` returned.
    x : Tensor of shape (b, ...)
        A few rows.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.augment import check
    >>> check(lambda x, generator: x[:, :1], torch.zeros(2, 4))
    Traceback (most recent call last):
        ...
    ValueError: augment must keep the shape (2, 4), got (2, 1) from <function <lambda> at ...>.
    """
    before = x.clone()
    outs = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(0)
            outs.append(augment(x, generator=None))
    out, again = outs
    if not isinstance(out, Tensor):
        raise ValueError(f"augment must return a tensor, got {type(out).__name__} from {augment!r}.")
    for what in ("shape", "dtype", "device"):
        old, new = getattr(x, what), getattr(out, what)
        if old != new:
            old, new = (tuple(old), tuple(new)) if what == "shape" else (old, new)
            raise ValueError(f"augment must keep the {what} {old}, got {new} from {augment!r}.")
    if not torch.equal(x.nan_to_num(), before.nan_to_num()):
        raise ValueError(f"augment must return a new tensor, but its input was changed in place by {augment!r}.")
    if out.isnan().any() and not x.isnan().any():
        raise ValueError(f"augment must not return NaN where there was none; {augment!r} did.")
    if not torch.equal(out.nan_to_num(), again.nan_to_num()):
        raise ValueError(
            "augment must draw from torch's generator, or from the one it is given, so that a seed repeats a fit; "
            f"{augment!r} gave two answers to one seed."
        )
