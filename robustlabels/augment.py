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

from .modules import closest

__all__ = [
    "ColorJitter",
    "ColumnCorruption",
    "Compose",
    "FeatureDropout",
    "GaussianNoise",
    "HorizontalFlip",
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

    def centres(start: Tensor, extent: Tensor, size: int) -> Tensor:  # of the pixels to be; -1 and 1: the image's edges
        even = (2 * torch.arange(size, device=x.device, dtype=work.dtype) + 1) / size  # in (0, 2)
        return 2 * start.to(work.dtype)[:, None] + extent.to(work.dtype)[:, None] * even - 1  # (b, size)

    b, _, h, w = x.shape
    rows, columns = centres(top, height, h)[:, :, None], centres(left, width, w)[:, None]
    grid = torch.stack([columns.expand(b, h, w), rows.expand(b, h, w)], 3)  # (b, h, w, 2)
    return _as_before(F.grid_sample(work, grid, padding_mode="border", align_corners=False), x)


_GREY = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)  # luma, Y of YIQ
_TO_YUV = torch.stack([_GREY, 0.492 * (torch.eye(3)[2] - _GREY), 0.877 * (torch.eye(3)[0] - _GREY)])  # Y, U, V
_QUARTER = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)  # turn in the plane of the colours
_TURN = torch.linalg.solve(_TO_YUV, _QUARTER @ _TO_YUV)  # the same on RGB
_COLOUR = torch.eye(3) - _GREY.expand(3, 3)  # what is not grey


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast, saturation and hue of each image, in this order.

    Brightness multiplies; contrast moves away from or towards the image's mean grey; saturation away from or towards
    each pixel's own grey; hue turns the colours around the grey axis (a rotation of the I-Q plane of YIQ). Together
    they are one 3 x 3 matrix and one shift per image. Images not of 3 channels get brightness and contrast alone.

    The result is cut off at 0 and 1, once, at the end, if the whole batch given lies in [0, 1], and nowhere otherwise:
    pixels may be 0..16 or standardised.

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
        """Change the colours of images (b, c, h, w) of floats."""
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
    grey = (_GREY.to(work, non_blocking=True)[:, None] * mean).sum(1, True) if x.shape[1] == 3 else mean.mean(1, True)
    shift = (1 - contrast) * brightness * grey  # (b, 1, 1), the same in all channels: no colour to saturate or turn
    factor = contrast * brightness
    if x.shape[1] == 3:
        colour, turn = (m.to(work, non_blocking=True) for m in (_COLOUR, _TURN))
        angle = 2 * math.pi * hue
        matrix = (saturation * angle.cos() - 1) * colour + saturation * angle.sin() * turn  # beyond the identity
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
    """Take the colour out of some images: all three channels become luma. Images of other channel counts stay.

    Parameters
    ----------
    p : float, default=0.2
        Probability of each image to become grey.

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
        """Turn images (b, c, h, w) of floats grey."""
        _check_images(self, x)
        _check_floats(self, x)
        if x.shape[1] != 3:
            return x
        u = torch.rand(len(x), generator=generator, device=_device(x, generator))
        return _grayscale(x, (u < self.p).to(x.device))


def _grayscale(x: Tensor, mask: Tensor) -> Tensor:
    """Luma in all channels of the images where mask (b,) is true."""
    work = _to_work(x)
    grey = (_GREY.to(work, non_blocking=True)[:, None, None] * work).sum(1, True).to(x.dtype)  # (b, 1, h, w)
    return _as_before(torch.where(mask[:, None, None, None], grey, work.to(x.dtype)), x)


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

    Colour images of 32 px and more: a box of 20 to 100 % of the area, mirrored, jittered, sometimes grey. Smaller or
    grey images are often digits and letters: never mirrored, boxes of 60 to 100 %. Flat rows: 40 % of the entries from
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
        "auto" is "standard" for colour images of 32 px and more, and nothing for everything else: small or grey images
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
