"""What training said of every row, counted again the slow way; and that nothing changes by being written down."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skorch.dataset import ValidSplit
from torch import nn

from robustlabels import (
    CoTeachingClassifier,
    CrossEntropyClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    MOITPlusClassifier,
    fit_recorded,
)
from robustlabels.methods.elr import ELRObjective
from robustlabels.training.dynamics import Dynamics, Recorder, RowHistory, Watch, fit_watched, margin
from robustlabels.training.hooks import ProgressBar
from robustlabels.training.objective import Batch, CrossEntropy, ObjectiveWrapper


def batch_of(rows=2):
    return Batch(torch.zeros(rows, 2), torch.eye(2)[:rows], torch.arange(rows), torch.ones(rows))


# --- sums over the visits ---------------------------------------------------------------------------------------------


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


def test_a_recorder_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="Recorder is a subclass of Recorder without a record method"):
        Recorder(CrossEntropy(), torch.tensor([0, 1]))(nn.Identity(), batch_of())


def test_fit_watched_asks_the_network_about_rows_it_never_saw(blobs):
    X, y = blobs
    clf = ELRClassifier(max_epochs=3, random_state=0, train_split=ValidSplit(5), device="cpu")
    dynamics = fit_watched(clf, X, y)
    assert dynamics.early_epochs == 1
    assert dynamics.visits.unique().tolist() == [1, 3]  # rows held out were asked about once, at the end
    asked = (dynamics.visits == 1).numpy()
    assert asked.sum() == 40
    np.testing.assert_allclose(dynamics.mean("proba").numpy()[asked], clf.predict_proba(X[asked]), atol=1e-4)
    assert type(clf.net_.criterion_) is ELRObjective  # and the record is off again


# --- every epoch ------------------------------------------------------------------------------------------------------


def test_history_is_the_mean_over_the_visits_of_an_epoch():
    torch.manual_seed(0)
    y, logits = torch.tensor([0, 2, 1]), torch.randn(4, 3, 3)  # four visits of three rows
    history = RowHistory(CrossEntropy(), y)
    for epoch, visits in enumerate(([0, 1], [2, 3])):
        history.on_epoch_begin(epoch, torch.nn.Identity(), list)
        for visit in visits:
            index = torch.arange(3) if visit else torch.arange(2)  # the last row misses the first visit
            batch = Batch(logits[visit, index], torch.eye(3)[y[index]], index, torch.ones(len(index)))
            history(torch.nn.Identity(), batch)
    p = logits.softmax(2)[:, torch.arange(3), y]
    expected = torch.stack([(p[0] + p[1]) / 2, (p[2] + p[3]) / 2])
    expected[0, 2] = p[1, 2]
    torch.testing.assert_close(history.proba(), expected.half())
    history.eval()
    history(torch.nn.Identity(), Batch(logits[0], torch.eye(3)[y], torch.arange(3), torch.ones(3)))
    torch.testing.assert_close(history.proba(), expected.half())  # written in training mode only


@pytest.mark.parametrize(
    "method", [CrossEntropyClassifier, ELRClassifier, ELRPlusClassifier, CoTeachingClassifier, MOITPlusClassifier]
)
def test_recording_does_not_change_the_fit(method, blobs):
    X, y = blobs
    plain, recorded = (method(max_epochs=3, random_state=0) for _ in range(2))
    plain.fit(X, y)
    assert fit_recorded(recorded, X, y) is recorded
    np.testing.assert_array_equal(plain.noise_scores_, recorded.noise_scores_)
    np.testing.assert_array_equal(plain.predict_proba(X), recorded.predict_proba(X))
    history = recorded.net_.proba_history_
    assert history.shape[1] == 200
    assert history.dtype == np.float16
    assert ((history >= 0) & (history <= 1)).all()
    assert type(recorded.net_.criterion_) is type(plain.net_.criterion_)


def test_a_new_fit_forgets_the_record(blobs, tmp_path):
    X, y = blobs
    clf = fit_recorded(ELRClassifier(max_epochs=2, random_state=0), X, y)
    clf.save(tmp_path / "clf.safetensors")
    clf.fit(X, y)
    assert not hasattr(clf.net_, "proba_history_")


def test_rows_not_trained_on_have_no_record(blobs):
    X, y = blobs
    weight = np.ones(200)
    weight[:20] = 0
    clf = fit_recorded(ELRClassifier(max_epochs=2, random_state=0), X, y, sample_weight=weight)
    missing = np.isnan(clf.net_.proba_history_)
    assert missing[:, :20].all()
    assert not missing[:, 20:].any()


def test_the_record_goes_on_after_an_interruption(blobs, tmp_path, monkeypatch):
    X, y = blobs
    path = tmp_path / "fit.ckpt"
    whole = fit_recorded(ELRClassifier(max_epochs=6, random_state=0), X, y).net_.proba_history_

    def stop(self, net):
        if len(net.history) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "on_epoch_end", stop)
    clf = ELRClassifier(max_epochs=6, random_state=0, checkpoint=path, verbose=1)
    with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="interrupted after 3 epochs"):
        fit_recorded(clf, X, y)
    assert clf.net_.proba_history_.shape == (3, 200)
    monkeypatch.undo()
    resumed = fit_recorded(ELRClassifier(max_epochs=6, random_state=0, checkpoint=path), X, y)
    np.testing.assert_array_equal(resumed.net_.proba_history_, whole)
    with pytest.raises(ValueError, match="belongs to another fit: recording"):
        ELRClassifier(max_epochs=6, random_state=0, checkpoint=path).fit(X, y)


def test_another_plug_goes_inside(blobs):
    X, y = blobs
    seen = []

    class Plug(ObjectiveWrapper):
        def forward(self, model, batch):
            seen.append(len(batch.y))
            return self.inner(model, batch)

    clf = fit_recorded(
        ELRClassifier(max_epochs=2, random_state=0), X, y, wrap=lambda objective, module, rows: Plug(objective)
    )
    assert sum(seen) == 400
    assert isinstance(clf.net_.criterion_, Plug)
    assert clf.net_.proba_history_.shape == (2, 200)


def test_what_cannot_be_recorded(blobs):
    with pytest.raises(TypeError, match="takes a classifier of this package that trains a network itself, got object"):
        fit_recorded(object(), *blobs)


def test_an_interruption_before_the_first_epoch_leaves_the_last_record(blobs, monkeypatch):
    X, y = blobs
    clf = fit_recorded(ELRClassifier(max_epochs=3, random_state=0, verbose=1), X, y)
    net, record = clf.net_, clf.net_.proba_history_

    def stop(self, net):
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "on_epoch_begin", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_recorded(clf, X, y)
    assert clf.net_ is net
    assert clf.net_.proba_history_ is record


def test_a_checkpoint_of_another_record_is_refused(blobs, tmp_path):
    X, y = blobs
    clf = ELRClassifier(max_epochs=2, random_state=0, checkpoint=tmp_path / "fit.ckpt")
    watch = Watch(lambda objective, rows: Dynamics(objective, rows.y, rows.n_classes), "training dynamics")
    watch.fit(clf, X, y)
    assert watch.net is clf.net_
    assert (watch.record.visits == 2).all()
    for fit in (clf.fit, lambda X, y: fit_recorded(clf, X, y)):
        with pytest.raises(ValueError, match="belongs to another fit: recording"):
            fit(X, y)
