"""Ends of networks: a head of class centers, and wrappers that turn an output into one column per class."""

import math
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from robustlabels.maths.functional import squared_distances


class LogitsOf(nn.Module):
    """Wrapper of a module that returns an object with ``.logits``, as Hugging Face's models do: return these logits.

    Parameters
    ----------
    module : nn.Module
        The wrapped module.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return logits (b, n_classes)."""
        return self.module(*args, **kwargs).logits


class TwoLogits(nn.Module):
    """Wrapper of a module that returns one logit z for two classes: return (0, z), whose softmax is the sigmoid of z.

    Parameters
    ----------
    module : nn.Module
        The wrapped module.

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
        """Return logits (b, 2)."""
        z = self.module(*args, **kwargs).reshape(-1, 1)  # (b, 1)
        return torch.cat([torch.zeros_like(z), z], dim=1)


class DistanceHead(nn.Linear):
    """Last layer whose logits are negative squared distances to learned class centers.

    For features u and centers c_k, the logits are z_k = -gamma ||u - c_k||^2 (+ log prior_k), and their softmax is the
    posterior of a mixture of Gaussians N(c_k, I / (2 gamma)). The head equals a linear layer with weight 2 gamma c_k
    and bias -gamma ||c_k||^2, so it separates the same classes as a linear layer. What differs is the geometry: losses
    can act on the distances. Centers are initialized as the weights of an ``nn.Linear``, with a norm of about 0.58 and
    a distance of 0.82 from each other, and are trained as such weights.

    Distances are computed in float32, whatever precision the rest of the network runs in.

    Parameters
    ----------
    in_features : int
        Number of features.
    n_classes : int
        Number of classes, at least 2.
    gamma : float, default=1.0
        Inverse temperature; PEMM uses 1.
    prior : array-like of shape (n_classes,) or None, default=None
        Probabilities of the classes, whose logarithms are added to the logits; None adds nothing.
    prior_at_test : bool, default=True
        Whether to add them in eval mode too. With False, predictions give all classes the same prior.
    device, dtype
        Device and dtype of the centers.

    Attributes
    ----------
    weight : Parameter of shape (n_classes, in_features)
        The centers.

    Raises
    ------
    ValueError
        If ``n_classes``, ``gamma`` or ``prior`` is out of range.

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
            raise ValueError(f"n_classes must be 2 or more, got {n_classes}.")
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
        """Return squared distances (..., n_classes) of features (..., in_features) to the centers."""
        rows = features.reshape(-1, self.in_features)
        return squared_distances(rows, self.weight).view(*features.shape[:-1], self.out_features)

    def forward(self, input: Tensor) -> Tensor:
        """Return logits (..., n_classes) of features (..., in_features)."""
        logits = -self.gamma * self.distances(input)
        return logits if self._log_prior_in_use is None else logits + self._log_prior_in_use

    def linear_form(self) -> tuple[Tensor, Tensor]:
        """Return weight (n_classes, in_features) and bias (n_classes,) of the linear layer with the same softmax."""
        # The term -gamma ||u||^2 is the same for all classes, so the softmax cancels it.
        bias = -self.gamma * self.weight.square().sum(1)
        return 2 * self.gamma * self.weight, bias if self._log_prior_in_use is None else bias + self._log_prior_in_use

    def log_density(self, features: Tensor) -> Tensor:
        """Return the log density (...,) of features (..., in_features) under the mixture.

        Without a prior, or with one that is not used at test time, all classes have the same.
        """
        d = self.in_features
        uniform = torch.full((self.out_features,), -math.log(self.out_features), device=features.device)
        log_prior = uniform if self.log_prior is None or not self.prior_at_test else self.log_prior
        log_joint = log_prior - self.gamma * self.distances(features)  # (..., n_classes), up to the constant
        return torch.logsumexp(log_joint, dim=-1) + d / 2 * math.log(self.gamma / math.pi)

    @property
    def _log_prior_in_use(self) -> Tensor | None:
        """The logarithms that are added to the logits in the current mode, or None."""
        return self.log_prior if self.training or self.prior_at_test else None

    def extra_repr(self) -> str:
        """Return sizes and gamma, which ``print(module)`` shows."""
        return f"in_features={self.in_features}, n_classes={self.out_features}, gamma={self.gamma:g}"
