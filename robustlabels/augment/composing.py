"""Compose augmentations, and choose and check one."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from robustlabels.augment.images import ColorJitter, HorizontalFlip, RandomCrop, RandomGrayscale, RandomResizedCrop
from robustlabels.augment.tables import ColumnCorruption
from robustlabels.modules import closest

Augment = Callable[..., Tensor]


@dataclass(frozen=True)
class Compose:
    """Apply several augmentations one after another.

    Parameters
    ----------
    steps : sequence of callables
        Augmentations, or functions that take only the batch.

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
    """A function that takes only the batch. If it draws, it draws from PyTorch's default generator."""

    function: Augment

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        return self.function(x)


def _with_generator(function: Augment) -> Augment:
    """Return the function, wrapped unless it takes a generator."""
    if not callable(function):
        raise TypeError(f"An augmentation must be callable as f(x, generator=None) or f(x), got {function!r}.")
    try:
        # The signature of a module itself is that of nn.Module.__call__, which takes anything.
        signature = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except ValueError:  # A function written in C has no signature to check.
        return _WithoutGenerator(function)
    if "generator" in signature.parameters:
        return function
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(
            f"An augmentation must be callable as f(x, generator=None) or f(x), got {function!r} with {signature}; "
            "bind its other arguments with functools.partial."
        ) from error
    return _WithoutGenerator(function)


def standard(input_shape: tuple[int, ...]) -> Compose:
    """Return what papers call weak augmentation: a shift by up to an eighth of the side (4 px on CIFAR) and mirroring.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of an image, (channels, height, width).

    Returns
    -------
    Compose

    Raises
    ------
    ValueError
        If rows of this shape are not images.

    Examples
    --------
    >>> from robustlabels.augment import standard
    >>> standard((3, 32, 32))
    Compose(steps=(RandomCrop(padding=4, fill=0), HorizontalFlip(p=0.5)))
    """
    if len(input_shape) != 3:
        raise ValueError(
            "augment='standard' needs images, which are rows of shape (channels, height, width), but got rows of shape "
            f"{tuple(input_shape)}; set augment=None, or a callable such as GaussianNoise(sd=0.1)."
        )
    return Compose([RandomCrop(padding=max(1, min(input_shape[1:]) // 8)), HorizontalFlip()])


def strong(input_shape: tuple[int, ...]) -> Compose | ColumnCorruption | None:
    """Return strong views, as for contrastive training, by the shape of a row.

    Color images of 32 px or more are cropped to boxes of 20 to 100 % of the area, mirrored, jittered, and sometimes
    turned gray. Smaller or gray images are often digits and letters, so they are not mirrored, and boxes have 60 to
    100 % of the area. In flat rows, 40 % of the entries are replaced by those of other rows. For rows of other shapes,
    such as sequences, there is no known view that preserves the class, and the result is None.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of a row, such as (channels, height, width) or (features,).

    Returns
    -------
    Compose, ColumnCorruption or None

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
    """Return the callable that the parameter `augment` of a classifier stands for, or None.

    Parameters
    ----------
    augment : {"auto", "standard", "strong"}, callable or None
        "auto" is "standard" for color images of 32 px or more and None for all other rows, because small or gray images
        are often digits and letters, which must not be mirrored. "standard" is the result of :func:`standard`.
        "strong" is the result of :func:`strong`, which is None for some shapes. A callable takes
        ``(x, generator=None)`` or ``(x)``.
    input_shape : tuple of int
        Shape of one row.

    Returns
    -------
    callable or None
        It is called as ``augment(x, generator=generator)``.

    Raises
    ------
    ValueError
        If the name is unknown, or "standard" is asked for rows that are not images.
    TypeError
        If `augment` is none of these, or a callable with other arguments.

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
    """Run an augmentation twice on a few rows and raise if its result cannot take the place of the batch.

    The state of PyTorch's random generator does not change.

    Parameters
    ----------
    augment : callable
        The result of :func:`resolve`.
    x : Tensor of shape (b, ...)
        A few rows.

    Raises
    ------
    ValueError
        If the result has another type, shape, dtype or device, holds NaN that the rows do not hold, or differs from
        the one of the same seed; or if the rows were changed in place.

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
    # NaN differs from itself, so missing values are replaced by numbers before they are compared.
    if not torch.equal(x.nan_to_num(), before.nan_to_num()):
        raise ValueError(
            f"augment must return a new tensor, but {augment!r} changed its input in place; let it work on x.clone()."
        )
    if out.isnan().any() and not x.isnan().any():
        raise ValueError(f"augment must not return NaN for rows without NaN, but {augment!r} did.")
    if not torch.equal(out.nan_to_num(), again.nan_to_num()):
        raise ValueError(
            "augment must draw from PyTorch's default generator or from the one that it is given, so that a seed "
            f"repeats a fit; {augment!r} gave two results for the same seed."
        )
