"""RandAugment: some of fourteen of Pillow's operations on each image of a batch."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from robustlabels.augment.images import jitter
from robustlabels.augment.tensors import check_floats, check_images, check_probability, like_input, working_copy

OPS = (
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
    """Apply some operations at random levels to each image, drawn from a list of fourteen: FixMatch's strong views.

    The operations are identity, automatic contrast and histogram equalization; brightness, contrast, color and
    sharpness; posterization and solarization; rotation, shears and translations, which leave black areas. Each gives
    the same result as Pillow's operation on bytes. For each image, `n_ops` of them are drawn, possibly the same one
    twice, and each is applied with probability `p`. FixMatch (Sohn et al. 2020) applies a
    :class:`~robustlabels.augment.Cutout` afterwards, which is a separate step here.

    Pixels are assumed to be in [0, 1], or between the smallest and the largest value of the batch if these lie outside.
    All images that get the same operation are processed at once. The draws are made on the CPU, so that no step waits
    for the device.

    Parameters
    ----------
    n_ops : int, default=2
        Number of operations drawn for each image.
    magnitude : int, default=10
        Levels are whole numbers from 1 to ``magnitude - 1``; from 2 to 11.
    p : float, default=0.5
        Probability that an operation is applied.

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
        check_probability(self.p)

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """Change images (b, c, h, w) of floats."""
        check_images(self, x)
        check_floats(self, x)
        low, high = x.aminmax()
        low, high = low.clamp_max(0), high.clamp_min(1)
        work = (working_copy(x) - low) / (high - low)
        for ops, levels in zip(*self._draw(len(x), generator), strict=True):
            work = apply_operations(work, ops, levels)
        return like_input(low + (high - low) * work, x)

    def _draw(self, b: int, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Return the operation of each of b images and its level, both (n_ops, b).

        A negative level means the opposite direction. Operations without a direction ignore the sign.
        """
        device = torch.device("cpu") if generator is None else generator.device
        u = torch.rand(4, self.n_ops, b, generator=generator, device=device).cpu()
        ops = torch.where(u[0] < self.p, (len(OPS) * u[1]).long().clamp_max(len(OPS) - 1), 0)
        levels = 1 + ((self.magnitude - 1) * u[2]).long().clamp_max(self.magnitude - 2)
        return ops, torch.where(u[3] < 0.5, -levels, levels)


def apply_operations(x: Tensor, ops: Tensor, levels: Tensor) -> Tensor:
    """Apply operation ops[i] at level levels[i], each (b,) on the CPU, to image i with pixels from 0 to 1."""
    out = x.clone()
    for names, operation in _OPERATIONS.items():
        numbers = torch.tensor([OPS.index(name) for name in names])
        rows = torch.isin(ops, numbers).nonzero()[:, 0]
        if len(rows):
            kinds, v = ops[rows] - numbers[0], levels[rows]
            at = rows.to(x.device, non_blocking=True)
            part = x.index_select(0, at)
            out.index_copy_(0, at, operation(part, v, kinds).clamp(0, 1))
    return out


def _per_image(values: Tensor, x: Tensor) -> Tensor:
    """Move numbers (b,) from the CPU to the device of x, in a shape that broadcasts to it."""
    return values.to(x.device, x.dtype, non_blocking=True)[:, None, None, None]


def _bytes(x: Tensor) -> Tensor:
    """Return pixels from 0 to 1 as whole numbers from 0 to 255."""
    return (255 * x).round()


# Each operation takes images (m, c, h, w), levels v (m,) and kinds (m,). A kind is the position of an image's operation
# among the names that share a function in _OPERATIONS. The formulas are Pillow's, the ranges those of FixMatch's code.


def _auto_contrast(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Stretch each channel from black to white."""
    low, high = (m[:, :, None, None] for m in x.flatten(2).aminmax(dim=2))
    return torch.where(high > low, (x - low) / (high - low), x)


def _equalize(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Equalize the histogram of each channel by Pillow's rule for whole numbers."""
    level = _bytes(x).long().flatten(2)  # (m, c, h * w)
    counts = torch.zeros(*level.shape[:2], 256, device=x.device, dtype=torch.int64)
    counts.scatter_add_(2, level, torch.ones_like(level))
    last = level.amax(2, keepdim=True)
    # Pillow leaves the pixels of the brightest level out of the step, and keeps the channel if the step is 0.
    step = (level.shape[2] - counts.gather(2, last)) // 255  # (m, c, 1)
    table = (step // 2 + counts.cumsum(2) - counts) // step.clamp_min(1)
    equal = table.gather(2, level).clamp_max(255).to(x.dtype) / 255
    return torch.where(step > 0, equal, x.flatten(2)).view_as(x)


def _enhance(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Reduce brightness (kind 0), contrast (kind 1) or color (kind 2) to a share of .05 plus .09 per level."""
    factor = 0.05 + 0.09 * v.abs().to(torch.float64)
    less = (torch.where(kinds == kind, factor, 1.0).to(x.device, non_blocking=True) for kind in range(3))
    brightness, contrast, color = less
    return jitter(x, brightness, contrast, color, torch.zeros_like(color))


def _sharpness(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Blend with a blurred copy whose outermost pixels are not blurred."""
    channels = x.shape[1]
    if min(x.shape[2:]) < 3:  # Such images have no inner pixels.
        return x
    kernel = x.new_full((3, 3), 1 / 13)
    kernel[1, 1] = 5 / 13
    blurred = x.clone()
    with torch.autocast(x.device.type, enabled=False):
        blurred[:, :, 1:-1, 1:-1] = F.conv2d(x, kernel.expand(channels, 1, 3, 3), groups=channels)
    return torch.lerp(blurred, x, _per_image(0.05 + 0.09 * v.abs(), x))


def _posterize(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Keep the upper 4 to 8 bits of each byte."""
    step = _per_image(2 ** (4 - (2 * v.abs()) // 5), x)
    return (_bytes(x) / step).floor() * step / 255


def _solarize(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Invert the pixels from a threshold upwards."""
    return torch.where(_bytes(x) < _per_image(256 - (256 * v.abs()) // 10, x), x, 1 - x)


def _affine(x: Tensor, v: Tensor, kinds: Tensor) -> Tensor:
    """Rotate by 3 degrees per level, shear by .03, or shift by .03 of the side, without interpolation.

    The kinds are 0 for rotation about the center, 1 and 2 for shears along x and y from the upper left corner, and 3
    and 4 for shifts along x and y.
    """
    m, c, h, w = x.shape
    # In float64, as in Pillow: a rounding error in the source of a pixel would pick its neighbor.
    v = v.to(torch.float64)
    is_ = [kinds == kind for kind in range(5)]
    angle = torch.where(is_[0], -torch.deg2rad(3 * v), 0.0)
    shear_x, shear_y = (torch.where(which, 0.03 * v, 0.0) for which in is_[1:3])
    shift_x, shift_y = (
        torch.where(which, (0.03 * side * v).trunc(), 0.0) for which, side in zip(is_[3:], (w, h), strict=True)
    )
    cos, sin = angle.cos(), angle.sin()
    wide = torch.float32 if x.device.type == "mps" else torch.float64  # mps has no float64
    # Coefficients (a, b, c) of the source coordinate a x + b y + c of the pixel whose center is at (x, y).
    to_x = torch.stack([cos, sin + shear_x, shift_x + w / 2 * (1 - cos) - h / 2 * sin], 1)
    to_y = torch.stack([shear_y - sin, cos, shift_y + w / 2 * sin + h / 2 * (1 - cos)], 1)
    to_x, to_y = (t.to(x.device, wide, non_blocking=True)[:, :, None, None] for t in (to_x, to_y))  # (m, 3, 1, 1)
    here_y, here_x = (0.5 + torch.arange(side, device=x.device, dtype=wide) for side in (h, w))
    here_y = here_y[:, None]
    from_x, from_y = ((t[:, 0] * here_x + t[:, 1] * here_y + t[:, 2]).floor().long() for t in (to_x, to_y))  # (m, h, w)
    inside = (from_x >= 0) & (from_x < w) & (from_y >= 0) & (from_y < h)
    # Clamped, because gather reads every position; sources outside the image are replaced by black below.
    source = (from_y.clamp(0, h - 1) * w + from_x.clamp(0, w - 1)).view(m, 1, h * w).expand(m, c, h * w)
    return torch.where(inside[:, None], x.flatten(2).gather(2, source).view_as(x), 0.0)


_OPERATIONS = {
    ("auto_contrast",): _auto_contrast,
    ("equalize",): _equalize,
    ("brightness", "contrast", "color"): _enhance,
    ("sharpness",): _sharpness,
    ("posterize",): _posterize,
    ("solarize",): _solarize,
    ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"): _affine,
}
