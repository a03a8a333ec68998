"""What training said of every row, counted again the slow way."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from robustlabels import CrossEntropyClassifier, ELRClassifier
from robustlabels.dynamics import Dynamics, margin
from robustlabels.objective import Batch, CrossEntropy


def test_sums_are_those_of_a_loop():
    torch.manual_seed(0)
    n, n_classes, epochs = 12, 3, 5
    y = torch.randint(n_classes, (n,))
    dynamics = Dynamics(CrossEntropy(), y, n_classes, early_epochs=2)
    seen = torch.randn(epochs, n, n_classes)
    for epoch in range(epochs):
        dynamics.on_epoch_begin(epoch, None, list)
        for index in torch.randperm(n).split(5):
            x = seen[epoch, index]
            dynamics(nn.Identity(), Batch(x, F.one_hot(y[index], n_classes).float(), index, torch.ones(len(index))))
    p = seen.softmax(2)
    torch.testing.assert_close(dynamics.mean("proba"), p.mean(0))
    torch.testing.assert_close(dynamics.mean("early"), p[:2].mean(0))
    for i in range(n):
        losses = [-p[e, i, y[i]].log() for e in range(epochs)]
        torch.testing.assert_close(dynamics.mean("loss")[i], torch.stack(losses).mean())
        others = [k for k in range(n_classes) if k != y[i]]
        margins = [seen[e, i, y[i]] - seen[e, i, others].max() for e in range(epochs)]
        torch.testing.assert_close(dynamics.mean("margin")[i], torch.stack(margins).mean())
        right = [bool(seen[e, i].argmax() == y[i]) for e in range(epochs)]
        assert dynamics.forgotten[i] == sum(a and not b for a, b in itertools.pairwise(right))
        assert bool(dynamics.learned[i]) == any(right)
    assert (dynamics.visits == epochs).all()


def test_nothing_is_remembered_in_eval_mode():
    dynamics = Dynamics(CrossEntropy(), torch.tensor([0, 1]), 2).eval()
    dynamics(nn.Identity(), Batch(torch.zeros(2, 2), torch.eye(2), torch.arange(2), torch.ones(2)))
    assert (dynamics.visits == 0).all()


def test_training_is_the_same_with_and_without(blobs):
    X, y = blobs
    for make in (CrossEntropyClassifier, ELRClassifier):
        plain = make(max_epochs=3, random_state=0, device="cpu").fit(X, y)
        seen = []

        def wrap(objective, module, rows, seen=seen):
            seen.append(Dynamics(objective, rows.y, rows.n_classes))
            return seen[-1]

        watched = make(max_epochs=3, random_state=0, device="cpu")
        watched._fit(X, y, wrap=wrap)
        np.testing.assert_array_equal(plain.predict_proba(X), watched.predict_proba(X))
        np.testing.assert_array_equal(plain.noise_scores_, watched.noise_scores_)
        assert (seen[0].visits == 3).all()


def test_margin_of_one_right_and_one_wrong_row():
    logits = torch.tensor([[3.0, 1.0, -1.0], [3.0, 1.0, -1.0]])
    assert margin(logits, torch.tensor([0, 2])).tolist() == [2.0, -4.0]
