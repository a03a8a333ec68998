"""What a network ends with: class centers, or a wrapper that makes one column per class of what it returns."""

import math
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from robustlabels.maths.functional import squared_distances


class LogitsOf(nn.Module):
    """A module that returns an object with ``.logits`` (Hugging Face's do), made to return these.

    Parameters
    ----------
    module : nn.Module
        The module inside.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Logits (b, n_classes)."""
        return self.module(*args, **kwargs).logits


class TwoLogits(nn.Module):
    """A module with one logit z for two classes, made to return (0, z): the softmax of it is z's sigmoid.

    Parameters
    ----------
    module : nn.Module
        The module inside.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import TwoLogits
    >>> TwoLogits(torch.nn.Flatten())(torch.tensor([[2.0], [-1.0]]))
    tensor([[ 0.,  2.],
            [ 0., -1.]])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Logits (b, 2)."""
        z = self.module(*args, **kwargs).reshape(-1, 1)  # (b, 1)
        return torch.cat([torch.zeros_like(z), z], dim=1)


class DistanceHead(nn.Linear):
    """Last layer whose logits are negative squared distances to learned class centers.

    Of features u and centers c_k, z_k = -gamma ||u - c_k||^2 (+ log prior_k): the softmax is the posterior of a mixture
    of Gaussians N(c_k, I / (2 gamma)). It is the linear layer of weight 2 gamma c_k and bias -gamma ||c_k||^2, so it
    tells apart what a linear layer does; what changes is the geometry that losses on distances act in. Centers start as
    the weights of an ``nn.Linear`` do, at a norm of about 0.58 and 0.82 from each other, and are trained like them.

    Distances are exact in float32 whatever precision the rest of the network runs in.

    Parameters
    ----------
    in_features, n_classes : int
    gamma : float, default=1.0
        Inverse temperature; 1 is PEMM's.
    prior : array-like of shape (n_classes,) or None, default=None
        Probabilities of the classes, of which the logarithm is added; None adds nothing.
    prior_at_test : bool, default=True
        False adds them in training mode only: what is predicted then weighs all classes alike.
    device, dtype
        Of the centers.

    Attributes
    ----------
    weight : Parameter of shape (n_classes, in_features)
        The centers.

    References
    ----------
    Wang, Yang, Liu, Jia, "Potential Energy based Mixture Model for Noisy Label Learning", arXiv 2405.01186.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import DistanceHead
    >>> head = DistanceHead(2, 3)
    >>> _ = head.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    >>> head(torch.tensor([[0.5, 0.5]])).detach()
    tensor([[-0.5000, -0.5000, -2.5000]])
    """

    log_prior: Tensor | None

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        *,
        gamma: float = 1.0,
        prior: ArrayLike | None = None,
        prior_at_test: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if n_classes < 2:
            raise ValueError(f"a distance head tells classes apart, so n_classes must be 2 or more, got {n_classes}.")
        if not 0 < gamma < math.inf:
            raise ValueError(f"gamma must be a number in (0, inf), got {gamma!r}.")
        super().__init__(in_features, n_classes, bias=False, device=device, dtype=dtype)
        self.gamma, self.prior_at_test = float(gamma), prior_at_test
        if prior is not None:
            prior = torch.as_tensor(prior, device=device, dtype=self.weight.dtype)
            if prior.shape != (n_classes,) or not (prior > 0).all() or abs(float(prior.sum()) - 1) > 1e-3:
                raise ValueError(f"prior must be {n_classes} positive numbers that sum to 1, got {prior.tolist()}.")
        self.register_buffer("log_prior", None if prior is None else torch.log(prior))

    def distances(self, features: Tensor) -> Tensor:
        """Squared distances (..., n_classes) of features (..., in_features) to the centers."""
        rows = features.reshape(-1, self.in_features)
        return squared_distances(rows, self.weight).view(*features.shape[:-1], self.out_features)

    def forward(self, input: Tensor) -> Tensor:
        """Logits (..., n_classes) of features (..., in_features)."""
        logits = -self.gamma * self.distances(input)
        return logits if self._added is None else logits + self._added

    def linear_form(self) -> tuple[Tensor, Tensor]:
        """Weight (n_classes, in_features) and bias (n_classes,) of the linear layer with the same softmax."""
        bias = -self.gamma * self.weight.square().sum(1)
        return 2 * self.gamma * self.weight, bias if self._added is None else bias + self._added

    def log_density(self, features: Tensor) -> Tensor:
        """Log density (...,) of features (..., in_features) under the mixture; equal priors where none are given."""
        d = self.in_features
        uniform = torch.full((self.out_features,), -math.log(self.out_features), device=features.device)
        log_prior = uniform if self.log_prior is None or not self.prior_at_test else self.log_prior
        log_joint = log_prior - self.gamma * self.distances(features)  # (..., n_classes), up to the constant
        return torch.logsumexp(log_joint, dim=-1) + d / 2 * math.log(self.gamma / math.pi)

    @property
    def _added(self) -> Tensor | None:
        """What joins the logits, in this mode."""
        return self.log_prior if self.training or self.prior_at_test else None

    def extra_repr(self) -> str:
        """Sizes and gamma, shown by ``print(module)``."""
        return f"in_features={self.in_features}, n_classes={self.out_features}, gamma={self.gamma:g}"
