"""Three people's first hour with the package, from beginning to end, and what each of them would look at.

A data scientist with a folder of images; somebody with texts, a Pipeline and a search; a researcher with a method of
her own. The sessions are those the package was drawn for, and run as they would be typed.
"""

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import robustlabels as rl
from robustlabels import (
    ConfidentLearningNoiseDetector,
    KNNNoiseDetector,
    LabelReport,
    NoiseAwareClassifier,
    SmallLossNoiseDetector,
)
from robustlabels.comparison import plot, read_rows, run_comparison, summarize
from robustlabels.maths.functional import soft_cross_entropy
from robustlabels.noise import InstanceDependentNoise, PairNoise, SymmetricNoise
from robustlabels.training.base import RowLossClassifier
from robustlabels.training.objective import Objective
from robustlabels.training.parameters import check_number
from tests.instances import EXPECTED_FAILED_CHECKS

NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


# --- (a) images in a folder -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Digits as PNG files, in the folder of their label; a fifth lie in a wrong one. The true one is in the name."""
    pillow = pytest.importorskip("PIL.Image")
    digits = load_digits()
    y = SymmetricNoise(0.2, random_state=0).flip(digits.target)
    for i, image in enumerate((digits.images * 15.9).astype(np.uint8)):
        path = tmp_path / "digits" / NAMES[y[i]] / f"{i}-{NAMES[digits.target[i]]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(image).save(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def true_labels(X):
    return np.array([path.rpartition("-")[2].removesuffix(".png") for path in X.paths])


@pytest.mark.usefixtures("folder")
def test_images_in_a_folder(capsys):
    X, y = rl.datasets.load_image_folder("digits", size=8, mode="L")
    X_train, X_test, y_train, _ = train_test_split(X, y, stratify=y, random_state=0)

    clf = rl.ELRClassifier("cnn", module__width=16, max_epochs=15, device="cpu", random_state=0, verbose=1)
    clf.fit(X_train, y_train)

    report = rl.LabelReport.from_estimator(clf, X_train, y_train)
    report.plot_gallery(24)
    report.plot_score_histogram()
    report.plot_transition_matrix()
    suspects = report.to_frame().query("flagged")
    report.to_html("label_audit.html")

    y_fixed = report.apply(y_train, relabel_above=0.95)
    again = clone(clf).set_params(verbose=0).fit(X_train, y_fixed)

    # what was loaded is lazy, in both halves, and labels are names
    assert repr(X_train) == "ImagePaths(1347 images, size=8, mode='L')"
    assert set(y) == set(NAMES)
    # the bar says how it goes
    bar = capsys.readouterr().err
    assert "epoch" in bar or "15/15" in bar
    # nobody said how much noise there is
    true = true_labels(X_train)
    wrong = true != y_train
    assert abs(clf.noise_rate_ - wrong.mean()) < 0.05
    assert clf.transition_matrix_.shape == (10, 10)
    # the list starts with wrong labels, and says what they should be
    first = suspects["path"].head(100).str.extract(r"-(\w+)\.png")[0]
    assert (first != suspects["given"].head(100)).mean() > 0.97
    assert (first == suspects["suggested"].head(100)).mean() > 0.9
    assert rl.detection_report(clf.noise_scores_, wrong).average_precision > 0.9
    # one file to mail, without anything else
    page = Path("label_audit.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") > 24
    assert "<script" not in page
    assert "://" not in page
    # labels are repaired in a copy, and every change is listed
    assert (y_fixed == true).mean() > (y_train == true).mean() + 0.1
    assert len(report.decisions_) == (y_fixed != y_train).sum() > 0
    assert (report.revert(y_fixed) == y_train).all()
    # it is a better model than the same network without protection, on labels nobody got wrong
    plain = rl.CrossEntropyClassifier("cnn", module__width=16, max_epochs=15, device="cpu", random_state=0)
    accuracy = {
        name: np.mean(model.predict(X_test) == true_labels(X_test))
        for name, model in (("CE", plain.fit(X_train, y_train)), ("ELR", clf), ("ELR, repaired", again))
    }
    print(accuracy)
    assert accuracy["ELR"] > accuracy["CE"] + 0.02
    assert accuracy["ELR, repaired"] > accuracy["CE"] + 0.02


# --- (b) texts in a Pipeline ------------------------------------------------------------------------------------------


def test_texts_in_a_search(reviews, tmp_path):
    df = pd.read_csv(reviews)
    vectors = make_pipeline(TfidfVectorizer(), TruncatedSVD(32, random_state=0)).fit_transform(df["text"])
    E = pd.DataFrame(vectors, index=df.index).add_prefix("e")
    pipe = Pipeline(
        [
            ("scale", StandardScaler()),
            (
                "clf",
                NoiseAwareClassifier(
                    LogisticRegression(max_iter=1000),
                    detector=KNNNoiseDetector(),
                    strategy="drop",
                    memory=tmp_path / "cache",
                ),
            ),
        ]
    )
    grid = GridSearchCV(
        pipe,
        [
            {"clf__detector": [KNNNoiseDetector()], "clf__detector__n_neighbors": [5, 15, 50]},
            {
                "clf__detector": [
                    ConfidentLearningNoiseDetector(),
                    SmallLossNoiseDetector(rl.ELRClassifier(max_epochs=5, device="cpu"), random_state=0),
                ]
            },
            {"clf__strategy": ["drop", "weight", "relabel"], "clf__estimator__C": [0.1, 1, 10]},
        ],
        cv=3,
        n_jobs=2,
    )
    grid.fit(E, df["label"])
    best = grid.best_estimator_["clf"]
    report = LabelReport.from_estimator(grid, df["text"], df["label"])

    wrong = (df["label"] != df["true"]).to_numpy()
    # all fourteen candidates ran, of each group
    scores = grid.cv_results_["mean_test_score"]
    assert len(scores) == 3 + 2 + 9
    assert np.isfinite(scores).all()
    # nothing leaked: on labels of which a fifth are wrong nobody is right more often than in four of five; who had
    # taken the suspects out of the validation folds too would have found nearly all of them right
    assert 0.7 < scores.max() < 1 - wrong.mean() + 0.03
    # and the choice is a good one on right labels
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(E, df["label"])
    accuracy = [np.mean(model.predict(E) == df["true"]) for model in (plain, grid)]
    print(accuracy, best, grid.best_params_)
    assert accuracy[1] > accuracy[0]
    # labels stay words, the columns' names are known, the rows' order too
    assert set(grid.predict(E)) == set(df["label"])
    assert best.noise_scores_.shape == (len(df),)
    assert abs(best.noise_rate_ - wrong.mean()) < 0.05
    assert best.detector_.transition_matrix_.shape == (3, 3)
    assert grid.best_estimator_.feature_names_in_.tolist() == E.columns.tolist()
    # equal detectors were fitted once: three folds and the end
    assert len(list((tmp_path / "cache").rglob("output.pkl"))) == 3 * (3 + 2 + 1) + 1
    # the report shows texts, not numbers
    first = report.to_frame(20)
    assert wrong[first["row"]].mean() > 0.9
    page = report.to_html()
    assert df["text"][first["row"][0]] in page
    assert page.count("<blockquote") > 20
    assert "usual in" not in page
    # the same over the pipeline, and over the classifier alone
    for holder in (grid.best_estimator_, best):
        same = LabelReport.from_estimator(holder, df["text"], df["label"])
        assert same.to_frame(20)["row"].tolist() == first["row"].tolist()


def test_a_network_instead_of_the_linear_model(reviews):
    df = pd.read_csv(reviews)
    E = make_pipeline(TfidfVectorizer(), TruncatedSVD(32, random_state=0)).fit_transform(df["text"])
    pipe = Pipeline([("scale", StandardScaler()), ("clf", rl.MOITClassifier("mlp", device="cpu", random_state=0))])
    grid = GridSearchCV(pipe, {"clf__lr": [0.02, 0.05], "clf__max_epochs": [2]}, cv=2)
    grid.fit(E[:200], df["label"][:200])
    assert grid.best_params_["clf__lr"] in (0.02, 0.05)
    diagnostic = Pipeline([("scale", StandardScaler()), ("detect", KNNNoiseDetector()), ("clf", LogisticRegression())])
    diagnostic.fit(E, df["label"])
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(E, df["label"])
    np.testing.assert_array_equal(diagnostic.predict(E), plain.predict(E))  # it looks, and changes nothing
    assert diagnostic["detect"].noise_mask_.any()


# --- (c) a method of one's own ----------------------------------------------------------------------------------------


class MyObjective(Objective):
    """Cross-entropy, and a pull towards what the network believed of the row before."""

    def __init__(self, n_samples, n_classes, lam, beta, augment=None):
        super().__init__(augment)
        self.lam, self.beta = lam, beta
        self.register_buffer("believed", torch.zeros(n_samples, n_classes))

    def forward(self, model, batch):
        logits = model(self.view(batch.x))
        p = F.softmax(logits, dim=1).clamp(1e-4, 1 - 1e-4)  # (b, n_classes)
        if self.training:
            q = p.detach() / p.detach().sum(1, keepdim=True)
            self.believed[batch.index] = self.beta * self.believed[batch.index] + (1 - self.beta) * q
        agreement = (self.believed[batch.index] * p).sum(1)  # (b,)
        loss = batch.weight * soft_cross_entropy(logits, batch.y) + self.lam * torch.log(1 - agreement)
        return loss.mean(), logits

    def posterior(self, index):
        mass = self.believed[index].sum(1, keepdim=True)  # (b, 1); 0 where a row was not seen yet
        uniform = torch.full_like(self.believed[index], 1 / self.believed.shape[1])
        return torch.where(mass > 0, self.believed[index] / mass.clamp_min(1e-12), uniform), mass[:, 0] > 0


class MyClassifier(RowLossClassifier):
    """Mine."""

    def __init__(self, module="auto", *, lam=5.0, beta=0.7, **params):
        super().__init__(module, **params)
        self.lam = lam
        self.beta = beta

    def _check_parameters(self):
        super()._check_parameters()
        check_number("beta", self.beta, 0, 1, closed="left")

    def _make_objective(self, module, rows):
        return MyObjective(len(rows.y), rows.n_classes, self.lam, self.beta, self._make_augment(rows))


def compared(tmp_path, noise, seeds, **params):
    """The comparison, its rows on disk and as tables and pictures."""
    methods = {
        "CE": rl.CrossEntropyClassifier(**params),
        "GCE": rl.GCEClassifier(**params),
        "ELR": rl.ELRClassifier(**params),
        "mine": MyClassifier(**params),
    }
    rows = run_comparison(
        methods, data=["digits"], noise=noise, seeds=seeds, results=tmp_path / "cmp.jsonl", curve=False
    )
    pd.json_normalize(rows).to_csv(tmp_path / "cmp.csv", index=False)
    return rows, summarize(rows), plot(rows, tmp_path / "pictures")


def test_a_method_of_ones_own_is_short_and_keeps_the_contract(digits):
    lines = inspect.getsource(MyObjective) + inspect.getsource(MyClassifier)
    assert len(lines.splitlines()) < 60
    results = check_estimator(
        MyClassifier(max_epochs=15, device="cpu"),
        expected_failed_checks=EXPECTED_FAILED_CHECKS,
        on_skip=None,
    )
    assert len(results) > 40
    X, y_noisy, X_test, y_test, wrong = digits
    clf = MyClassifier(device="cpu", random_state=0).fit(X, y_noisy)
    again = clone(clf).fit(X, y_noisy)
    np.testing.assert_array_equal(clf.predict_proba(X_test), again.predict_proba(X_test))
    found = rl.detection_report(clf.noise_scores_, wrong, noise_mask=clf.noise_mask_)
    print(clf.score(X_test, y_test), found)
    assert clf.score(X_test, y_test) > 0.93
    assert found.average_precision > 0.97
    # it is ELR, written again: as long as rounding has not added up
    ours, mine = (
        c(max_epochs=3, device="cpu", random_state=0).fit(X, y_noisy) for c in (rl.ELRClassifier, MyClassifier)
    )
    np.testing.assert_allclose(mine.predict_proba(X_test), ours.predict_proba(X_test), atol=1e-4)


def test_comparing_it(tmp_path, capsys):
    noise = [SymmetricNoise(0.4), PairNoise(0.4)]
    rows, summary, pictures = compared(tmp_path, noise, 1, max_epochs=30)
    assert len(rows) == len(read_rows(tmp_path / "cmp.jsonl")) == 8
    accuracy = {(row["noise"].partition("(")[0], row["method"]): row["measures"]["test_accuracy"] for row in rows}
    assert accuracy["SymmetricNoise", "mine"] > accuracy["SymmetricNoise", "CE"] + 0.1
    assert accuracy["SymmetricNoise", "mine"] == pytest.approx(accuracy["SymmetricNoise", "ELR"], abs=0.02)
    (table,) = summary.scores
    assert [line[0] for line in table.rows] == ["CE", "GCE", "ELR", "mine"]
    assert [path.name for path in pictures] == ["digits.png"]
    assert pictures[0].stat().st_size > 5000
    frame = pd.read_csv(tmp_path / "cmp.csv")
    assert {"method", "noise", "seed"} <= set(frame.columns)
    assert {"measures.test_accuracy", "measures.roc_auc", "measures.cpu_seconds"} <= set(frame.columns)
    # the same command again runs nothing
    capsys.readouterr()
    compared(tmp_path, noise, 1, max_epochs=30)
    assert "8 runs, 8 of them stored" in capsys.readouterr().out


@pytest.mark.slow
def test_comparing_it_at_full_length(tmp_path):
    noise = [SymmetricNoise(0.4), PairNoise(0.4), InstanceDependentNoise(0.4)]
    _, summary, _ = compared(tmp_path, noise, 3)
    print(summary)
    (table,) = summary.scores
    by_method = {line[0]: [float(cell.partition(" ")[0]) for cell in line[1:]] for line in table.rows}
    assert by_method["mine"][0] > by_method["CE"][0] + 0.2
    assert np.all(np.array(by_method["mine"]) > np.array(by_method["CE"]))
