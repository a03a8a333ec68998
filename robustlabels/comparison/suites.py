"""Suites of runs, by name."""

from __future__ import annotations

from typing import NamedTuple


class Suite(NamedTuple):
    """Runs of one command: arguments of :func:`~robustlabels.comparison.run_comparison`.

    Attributes
    ----------
    title : str
    data : tuple of str
    noise : tuple of str or None
    seeds : int
    """

    title: str
    data: tuple[str, ...]
    noise: tuple[str, ...] | None = None
    seeds: int = 3


CORE = ("digits", "wrench_trec", "noisyag_news", "jira_defects_dev", "cifar10_feats")

SUITES: dict[str, Suite] = {
    "smoke": Suite("a check that every method runs: digits, 40 % wrong, one seed", ("digits",), ("sym40",), 1),
    "core": Suite("five sets, four of them with real noise, three seeds", CORE),
    "pixels": Suite(
        "images as pixels, three seeds; takes hours, and can be stopped and resumed", ("fashion_mnist", "cifar10")
    ),
}
"""Suites by name. The full-size suite for a GPU is ``benchmarks/studies/cifar10.py`` of the source."""
