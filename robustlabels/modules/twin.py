"""Two networks trained as one module."""

from collections.abc import Iterator

from torch import Tensor, nn


class Twin(nn.Module):
    """Two networks trained as one module, whose output is the mean of both.

    Parameters
    ----------
    first, second : nn.Module
        The networks, which are available as ``twin[0]`` and ``twin[1]``.

    Examples
    --------
    >>> import torch
    >>> from robustlabels.modules import MLP, Twin
    >>> twin = Twin(MLP(4, 3), MLP(4, 3)).eval()
    >>> x = torch.ones(2, 4)
    >>> torch.equal(twin(x), (twin(x, member=0) + twin(x, member=1)) / 2)
    True
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList([first, second])

    def forward(self, x: Tensor, member: int | None = None) -> Tensor:
        """Return the logits of one network, or the mean of both."""
        if member is not None:
            return self.members[member](x)
        first, second = self.members
        return (first(x) + second(x)) / 2

    def __len__(self) -> int:
        return len(self.members)

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self.members)

    def __getitem__(self, member: int) -> nn.Module:
        return self.members[member]


def members(module: nn.Module) -> list[nn.Module]:
    """Return the networks of a `Twin`, or the single network, as a list.

    Parameters
    ----------
    module : nn.Module
        A `Twin` or any other network.

    Returns
    -------
    list of nn.Module

    Examples
    --------
    >>> from robustlabels.modules import MLP, Twin, members
    >>> len(members(MLP(4, 3))), len(members(Twin(MLP(4, 3), MLP(4, 3))))
    (1, 2)
    """
    return list(module) if isinstance(module, Twin) else [module]
