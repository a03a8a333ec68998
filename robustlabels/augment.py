"""Random views of a batch, made on its device: ``augment(x, generator=None) -> x``.

Every row gets draws of its own, the whole batch at once, and the input is left as it is. Draws come from `generator`,
or from the default generator of torch, which ``fit`` seeds. Images are (b, c, h, w); contiguous or channels_last stays.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .modules import closest

__all__ = ["Compose", "GaussianNoise", "HorizontalFlip", "RandomCrop", "check", "resolve", "standard"]

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
    h, w = x.shape[2:]
    rows = torch.arange(len(x), device=x.device)
    padded = F.pad(x, (padding,) * 4, value=fill)
    if _is_channels_last(x):  # the same gather with channels innermost, so that it need not be copied again
        windows = padded.permute(0, 2, 3, 1).unfold(1, h, 1).unfold(2, w, 1)  # (b, 2p+1, 2p+1, c, h, w), a view
        return windows.permute(0, 1, 2, 4, 5, 3)[rows, top, left].permute(0, 3, 1, 2)
    windows = padded.unfold(2, h, 1).unfold(3, w, 1)  # (b, c, 2p+1, 2p+1, h, w), a view
    return windows[rows, :, top, left]  # (b, c, h, w)


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
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must be in [0, 1], got {self.p}.")

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Mirror images (b, c, h, w)."""
        _check_images(self, x)
        u = torch.rand(len(x), generator=generator, device=_device(x, generator))
        return _flip(x, (u < self.p).to(x.device))


def _flip(x: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images where mask (b,) is true."""
    return torch.where(mask[:, None, None, None], x.flip(3), x)


def _check_images(augment: Any, x: Tensor) -> None:
    if x.ndim != 4:
        raise ValueError(
            f"{augment} needs images of shape (b, c, h, w), got {tuple(x.shape)}; "
            "for tables there is GaussianNoise, or augment=None."
        )


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


def resolve(augment: str | Augment | None, input_shape: tuple[int, ...]) -> Augment | None:
    """Turn what the user gave as `augment` into a callable, or None.

    Parameters
    ----------
    augment : {"auto", "standard"}, callable or None
        "auto" is "standard" for colour images of 32 px and more, and nothing for everything else: small or grey images
        are often digits and letters, which must not be mirrored. A callable takes ``(x, generator=None)`` or ``(x)``.
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
        is_photo = len(input_shape) == 3 and input_shape[0] == 3 and min(input_shape[1:]) >= 32
        return standard(input_shape) if is_photo else None
    if isinstance(augment, str):
        raise ValueError(
            f"augment must be 'auto', 'standard', None or a callable, got {augment!r}"
            + closest(augment, ["auto", "standard"])
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
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        out = augment(x, generator=None)
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
