"""What training said of every label is recorded without changing the training."""

import numpy as np
import pytest
import torch

from robustlabels import (
    CoTeachingClassifier,
    CrossEntropyClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    MOITPlusClassifier,
    fit_recorded,
)
from robustlabels.history import RowHistory
from robustlabels.net import ProgressBar
from robustlabels.objective import Batch, CrossEntropy, ObjectiveWrapper


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
