"""The entry of a method in :data:`robustlabels.methods.METHODS`."""

from __future__ import annotations

from dataclasses import dataclass

from robustlabels.training.base import BaseNoisyLabelClassifier


@dataclass(frozen=True)
class Method:
    """A method by name.

    Parameters
    ----------
    name : str
        As papers and tables write it, "ELR+" for instance. The command line takes it in lower case.
    classifier : type
        Its class. Constructed without arguments, it trains with the method's defaults.
    cost : float, default=3
        Training time relative to cross-entropy on 1,000 rows of a table. Only the time estimate that the comparison
        prints before it starts depends on it.
    large : float or None, default=None
        The same on 10,000 rows; None means as on 1,000.
    recipe : int, default=1
        Version of what the method computes at its defaults. Raise it when that changes: the comparison then runs the
        method again instead of averaging stored results of the old version with new ones.
    """

    name: str
    classifier: type[BaseNoisyLabelClassifier]
    cost: float = 3.0
    large: float | None = None
    recipe: int = 1
