"""The ablation of PEMM."""

import numpy as np
import pytest

from benchmarks.studies import pemm_ablation


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "margin"), [(0.2, 0.03), (0.4, 0.08)])
def test_oracle_13_head_and_sce_beat_linear_cross_entropy(rate, margin):
    def accuracy(head, loss):
        cell = pemm_ablation.Cell(head, loss, 0.1, 0.0, 0.0)
        results = [pemm_ablation.ablated(cell, rate, seed) for seed in range(3)]
        return np.mean([result["accuracy"] for result in results])

    assert accuracy("distance", "sce") - accuracy("linear", "ce") > margin
