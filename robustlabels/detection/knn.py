"""The neighbors' vote on every label."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from torch import Tensor

from robustlabels.detection.base import NoiseDetector
from robustlabels.maths.functional import count_votes, default_n_neighbors, most_votes, nearest_neighbors
from robustlabels.training import inputs
from robustlabels.training.beliefs import Beliefs, Floats, Ints
from robustlabels.training.net import resolve_device
from robustlabels.training.parameters import Interval, Options, StrOptions, check_number


def unit_rows(X: Any, device: str) -> Any:
    """Rows of norm one, flattened: a float32 tensor on the device, or a CSR matrix."""
    if scipy.sparse.issparse(X):
        norm = scipy.sparse.linalg.norm(X, axis=1)
        return scipy.sparse.csr_matrix(scipy.sparse.diags(1 / np.where(norm > 0, norm, 1)) @ X)
    rows = torch.from_numpy(np.array(X, dtype=np.float32).reshape(len(X), -1))
    return F.normalize(rows.to(device), dim=1)


def as_tensor(rows: Any) -> Any:
    """Stored rows as neighbors are searched among them: a tensor, or a CSR matrix as it is."""
    return rows if scipy.sparse.issparse(rows) else torch.from_numpy(rows)


def neighbors_among(queries: Any, rows: Any, k: int, *, themselves: bool = False) -> Tensor:
    """The k of ``rows`` most similar to each query (n_queries, k), itself excluded where they are the same rows."""
    n, sparse = rows.shape[0], scipy.sparse.issparse(rows)
    step = max(1, (16 << 20) // n)
    found = []
    for start in range(0, queries.shape[0], step):
        part = queries[start : start + step]
        similarity = torch.from_numpy((part @ rows.T).toarray()) if sparse else part @ rows.T  # (b, n)
        if themselves:
            own = torch.arange(len(similarity), device=similarity.device)
            similarity[own, start + own] = -torch.inf
        found.append(similarity.topk(k, dim=1, sorted=False).indices)
    return torch.cat(found)


def shares(counts: Tensor) -> Floats:
    """Votes as class probabilities."""
    votes = counts.cpu().numpy()
    return votes / votes.sum(1, keepdims=True)


def voters(n_neighbors: Any, n: int, n_classes: int) -> int:
    """Number of neighbors that vote on each of ``n`` rows."""
    if n_neighbors == "auto":
        if n < 2:
            raise ValueError(f"n_samples={n} is too few for neighbors to vote; 2 rows are needed.")
        return default_n_neighbors(n, n_classes)
    check_number("n_neighbors", n_neighbors, 1, integer=True)
    if n_neighbors >= n:
        raise ValueError(f"n_neighbors must be less than the {n} rows, got {n_neighbors}.")
    return int(n_neighbors)


def check_backend(backend: str) -> None:
    """Raise ValueError if ``backend`` is unknown."""
    if backend not in ("exact", "bf16", "faiss"):
        raise ValueError(f"backend must be 'exact', 'bf16' or 'faiss', got {backend!r}.")


class KNNNoiseDetector(NoiseDetector):
    """The neighbors of a row vote on its label: MOIT's detector, on any features.

    Neighbors are found by cosine similarity on X as it is: scale columns of a table first, in a Pipeline.

    Parameters
    ----------
    n_neighbors : int or "auto", default="auto"
        "auto": half the mean size of a class, between 5 and 250.
    n_passes : {1, 2}, default=2
        In a second vote the neighbors vote with the labels that the first vote gave them (eq. 6-8 of MOIT), which
        corrects most of their own wrong labels.
    backend : {"exact", "bf16", "faiss"}, default="exact"
        Of the neighbor search: see :func:`~robustlabels.maths.functional.nearest_neighbors`. A CSR matrix is searched
        exactly.
    device : str, default="auto"
        Where it runs.
    threshold : {"noise_rate", "auto", "quantile", "fdr"} or float, default="noise_rate"
        As for :class:`~robustlabels.detection.NoiseDetector`. The default flags as many rows as the noise rate says:
        these scores fall into no two groups, and a mixture splits them anyway.

    Attributes
    ----------
    n_neighbors_ : int
        Voters of each row.
    noise_scores_, noise_mask_, threshold_, noise_rate_, noise_rate_interval_, label_posterior_
        As for every detector, of the last vote.
    suggested_labels_, suggested_confidence_, transition_matrix_, classes_
        As for every detector.

    See Also
    --------
    AutoNoiseDetector : The vote combined with a network.
    MOITClassifier : The method whose detector this is.

    Notes
    -----
    A row does not vote on itself. The noise rate is estimated from the first vote, since in the second one a row's
    label has passed through its neighbors. Time and memory for n rows of d columns: n^2 d operations, in blocks.

    References
    ----------
    Ortego, Arazo, Albert, O'Connor, McGuinness (CVPR 2021), arXiv 2012.04462, eq. 6-8.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from robustlabels import KNNNoiseDetector, detection_report
    >>> from robustlabels.noise import SymmetricNoise
    >>> X, y = load_digits(return_X_y=True)
    >>> noise = SymmetricNoise(0.3, random_state=0)
    >>> detector = KNNNoiseDetector().fit(X, noise.flip(y))
    >>> detection_report(detector.noise_scores_, noise.flip_mask_).average_precision > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_neighbors": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_passes": [Options(Integral, {1, 2})],
        "backend": [StrOptions({"exact", "bf16", "faiss"})],
        "device": [str],
    }

    def __init__(
        self,
        n_neighbors: int | str = "auto",
        *,
        n_passes: int = 2,
        backend: str = "exact",
        device: str = "auto",
        threshold: str | float = "noise_rate",
        **params: Any,
    ) -> None:
        super().__init__(threshold=threshold, **params)
        self.n_neighbors = n_neighbors
        self.n_passes = n_passes
        self.backend = backend
        self.device = device

    def _read(self, X: Any, y: Any = None, *, reset: bool) -> Any:
        if inputs.is_paths(X):
            raise TypeError(
                f"{type(self).__name__} compares features, not files; give embeddings of the images, or use "
                "AutoNoiseDetector, which makes its own."
            )
        return super()._read(X, y, reset=reset)

    def _detect(self, X: Any, y: Ints) -> Beliefs:
        n, n_classes = X.shape[0], len(self.classes_)
        self.n_neighbors_ = voters(self.n_neighbors, n, n_classes)
        device = "cpu" if scipy.sparse.issparse(X) else resolve_device(self.device)
        rows, labels = unit_rows(X, device), torch.from_numpy(y).to(device)
        if isinstance(rows, Tensor):
            neighbors = nearest_neighbors(rows, self.n_neighbors_, backend=self.backend)
        else:
            neighbors = neighbors_among(rows, rows, self.n_neighbors_, themselves=True)
        first = counts = count_votes(neighbors, labels, n_classes)
        if self.n_passes == 2:
            labels = most_votes(first)
            counts = count_votes(neighbors, labels, n_classes)
        self._rows = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        self._labels = labels.cpu().numpy()
        held_out = None if self.n_passes == 1 else shares(first)
        return Beliefs.from_posterior(shares(counts), y, self.classes_, held_out=held_out)

    def _posterior(self, X: Any) -> Floats:
        if scipy.sparse.issparse(X) != scipy.sparse.issparse(self._rows):
            X = X.toarray() if scipy.sparse.issparse(X) else scipy.sparse.csr_matrix(X)
        neighbors = neighbors_among(unit_rows(X, "cpu"), as_tensor(self._rows), self.n_neighbors_)
        return shares(count_votes(neighbors, torch.from_numpy(self._labels), len(self.classes_)))
