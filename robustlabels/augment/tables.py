"""Random views of flat rows (b, d), and of rows of any shape."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from robustlabels.augment.tensors import check_floats, draw_device


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
        noise = torch.randn(x.shape, generator=generator, device=draw_device(x, generator), dtype=x.dtype)
        return x + self.sd * noise.to(x.device)


@dataclass(frozen=True)
class ColumnCorruption:
    """Replace some entries by the value of the same column in another row of the batch, drawn for each entry.

    A replaced entry is thus a draw from the distribution of its column (SCARF, Bahri et al. 2022), whatever the scale
    of the column, and categories remain valid.

    Parameters
    ----------
    rate : float, default=0.4
        Probability that an entry is replaced.

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
        """Corrupt rows (b, d); a batch of one row is returned unchanged."""
        if x.ndim != 2:
            raise ValueError(
                f"{self} needs flat rows of shape (b, d), got {tuple(x.shape)}; use RandomResizedCrop for images, or "
                "GaussianNoise, which takes any shape."
            )
        device = draw_device(x, generator)
        mask = torch.rand(x.shape, generator=generator, device=device) < self.rate
        steps = torch.randint(1, max(2, len(x)), x.shape, generator=generator, device=device)
        return corrupt(x, mask.to(x.device), steps.to(x.device))


def corrupt(x: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
    """Where mask (b, d) is true, replace entry (i, j) by entry ((i + steps[i, j]) modulo b, j)."""
    # Steps from 1 to b - 1 never lead to the row itself. With one row, the only step, 1, does.
    donors = (torch.arange(len(x), device=x.device)[:, None] + steps) % max(1, len(x))  # (b, d)
    return torch.where(mask, x.gather(0, donors), x)


@dataclass(frozen=True)
class FeatureDropout:
    """Set some entries to 0 and scale the others by 1 / (1 - p), as dropout does; meant for embeddings.

    Parameters
    ----------
    p : float
        Probability that an entry is dropped.

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
        check_floats(self, x)
        u = torch.rand(x.shape, generator=generator, device=draw_device(x, generator))
        return drop(x, (u < self.p).to(x.device), self.p)


def drop(x: Tensor, mask: Tensor, p: float) -> Tensor:
    """Set the entries to 0 where mask, of the shape of x, is true, and scale the others."""
    return (x / (1 - p)).masked_fill_(mask, 0)
