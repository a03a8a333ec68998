"""The comparison of methods: every run a row, whatever happens to it, and tables that say what the rows say."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robustlabels import (
    CrossEntropyClassifier,
    ELRClassifier,
    ELRPlusClassifier,
    MOITPlusClassifier,
    comparison,
)
from robustlabels.__main__ import main
from robustlabels.commands.compare import SUITES
from robustlabels.comparison import (
    ENTRIES,
    PROBLEMS,
    Entry,
    Problem,
    append_row,
    behind,
    common_seeds,
    costs,
    defaults,
    find,
    make_row,
    make_split,
    measure,
    read_rows,
    relabeled,
    run_comparison,
    runs,
    settings,
    summarize,
)
from robustlabels.datasets import NoisyDataset
from robustlabels.noise import InstanceDependentNoise, SymmetricNoise

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def toy():
    """Three blobs: 240 training rows, 120 test rows, and labels of a crowd of which 6 are not known."""
    rng = np.random.default_rng(0)
    y = np.arange(360) % 3
    X = (rng.normal(size=(360, 5)) + 3 * np.eye(3, 5)[y]).astype(np.float32)
    crowd = np.where(rng.random(240) < 0.3, (y[:240] + 1) % 3, y[:240])
    crowd[:6] = -1
    return NoisyDataset("toy", X[:240], y[:240], {"crowd": crowd}, X[240:], y[240:], ("a", "b", "c"))


@pytest.fixture
def run(toy, tmp_path):
    """``run_comparison`` on the toy, stored in a file."""

    def call(methods, noise=("sym20",), seeds=2, **options):
        options = {"results": tmp_path / "rows.jsonl", "verbose": 0, **options}
        return run_comparison(methods, [toy], noise, seeds, **options)

    return call


class Mine(ClassifierMixin, BaseEstimator):
    """A method that somebody else wrote: no scores, no probabilities, and it writes down each fit."""

    def __init__(self, log=None, shift=0, random_state=None):
        self.log, self.shift, self.random_state = log, shift, random_state

    def fit(self, X, y):
        if self.log is not None:
            with open(self.log, "a") as file:
                file.write(f"{self.random_state}\n")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return self.classes_[(X[:, :3].argmax(1) + self.shift) % 3]


# --- data and noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "rate"), [("clean", 0), ("sym20", 0.2), ("sym60", 0.6), ("pair40", 0.4)])
def test_noise_by_name_is_exact(noise, rate):
    y = np.arange(1000) % 10
    given = relabeled(y, noise, seed=0)
    assert (given != y).mean() == pytest.approx(rate)
    np.testing.assert_array_equal(given, relabeled(y, noise, seed=0))
    if rate:
        assert (given != relabeled(y, noise, seed=1)).any()


def test_instance_dependent_noise_does_not_look_at_units():
    X, y = np.random.default_rng(0).normal(size=(2000, 4)), np.arange(2000) % 4
    given = relabeled(y, "idn40", 0, X)
    assert (given != y).mean() == pytest.approx(0.4, abs=0.04)
    np.testing.assert_array_equal(given, relabeled(y, "idn40", 0, 1000 * X + 7))
    np.testing.assert_array_equal(given, relabeled(y, InstanceDependentNoise(0.4), 0, X))


def test_a_simulator_is_seeded_anew_and_left_alone():
    noise = SymmetricNoise(0.5, random_state=9)
    y = np.arange(300) % 3
    assert (relabeled(y, noise, 0) != relabeled(y, noise, 1)).any()
    assert noise.random_state == 9


def test_unknown_noise_is_named():
    with pytest.raises(ValueError, match=r"'clean', 'sym40', .* got 'sim40'"):
        relabeled(np.arange(4), "sim40", 0)


def test_split_draws_known_rows(toy):
    split = make_split(toy, "crowd", seed=0, rows=100)
    assert len(split.X) == len(split.given) == len(split.true) == 100
    assert split.given.min() >= 0
    assert (split.given != split.true).any()
    rows = {tuple(row): i for i, row in enumerate(toy.X_train)}
    chosen = np.array([rows[tuple(row)] for row in split.X])
    np.testing.assert_array_equal(split.given, toy.y_noisy["crowd"][chosen])
    np.testing.assert_array_equal(split.true, toy.y_train[chosen])
    assert chosen.min() >= 6
    assert len(np.unique(chosen)) == 100
    assert len(make_split(toy, "crowd", seed=0).X) == 234
    np.testing.assert_array_equal(split.X_test, toy.X_test)


def test_a_set_without_a_test_part_is_split(toy):
    whole = replace(toy, X_test=toy.X_test[:0], y_test=toy.y_test[:0])
    split = make_split(whole, "sym20", seed=0)
    assert (len(split.X), len(split.X_test)) == (168, 72)
    assert np.bincount(split.true).tolist() == [56] * 3
    assert not {tuple(row) for row in split.X} & {tuple(row) for row in split.X_test}
    assert (split.given != split.true).mean() == pytest.approx(0.2, abs=0.01)


# --- one run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [CrossEntropyClassifier, ELRPlusClassifier, MOITPlusClassifier])
def test_watching_changes_nothing(toy, method):
    split = make_split(toy, "sym20", seed=0)
    watched, plain = (method(max_epochs=6, random_state=0, device="cpu") for _ in range(2))
    result, without = measure(watched, split, curve=True), measure(plain, split)
    np.testing.assert_array_equal(watched.predict_proba(split.X_test), plain.predict_proba(split.X_test))
    curve = watched.history_[:, "test_acc"]
    assert result["test_accuracy"] == without["test_accuracy"] == curve[-1]  # the last epoch, not the best
    assert result["best_test_accuracy"] == max(curve)
    assert curve[result["best_epoch"] - 1] == max(curve)
    assert result["epochs"] == len(curve)
    assert "best_epoch" not in without


def test_measures_are_what_they_say(toy):
    split = make_split(toy, "sym20", seed=0)
    result = measure(KNeighborsClassifier(5).fit(split.X, split.given), split)
    proba = KNeighborsClassifier(5).fit(split.X, split.given).predict_proba(split.X_test)
    assert result["test_accuracy"] == np.mean(proba.argmax(1) == split.y_test)
    assert result["true_rate"] == pytest.approx(0.2)
    assert 0.5 < result["average_precision"] <= 1  # out of fold: KNN has no scores of its own
    assert result["recall"] > 0.8
    assert result["cpu_seconds"] > 0
    bare = measure(Mine(), split)
    assert not {"average_precision", "estimated_rate", "best_epoch"} & set(bare)  # it has neither scores nor epochs
    clean = measure(KNeighborsClassifier(5), make_split(toy, "clean", seed=0))
    assert clean["true_rate"] == 0
    assert "average_precision" not in clean


def test_f1_of_two_classes_is_of_the_second(toy):
    two = replace(toy, y_train=toy.y_train // 2, y_test=toy.y_test // 2)
    split = make_split(two, "clean", seed=0)
    result = measure(DummyClassifier(strategy="most_frequent"), split)
    assert result["test_accuracy"] == pytest.approx(2 / 3)
    assert result["test_f1"] == 0
    later = replace(split, given=split.given + 1, true=split.true + 1, y_test=split.y_test + 1)
    assert measure(DummyClassifier(strategy="most_frequent"), later)["test_f1"] == 0  # whatever they are called


class Scored(Mine):
    """Has scores, as told, and no mask."""

    def __init__(self, scores=1.0, random_state=None):
        self.scores, self.random_state = scores, random_state

    shift = 0
    log = None

    def fit(self, X, y):
        self.noise_scores_ = (
            np.full(len(X), self.scores) if self.scores > 2 else (X[:, :3].argmax(1) != y) * self.scores
        )
        return super().fit(X, y)


def test_scores_need_no_mask(toy):
    result = measure(Scored(), make_split(toy, "sym20", seed=0))
    assert result["average_precision"] > 0.7
    assert not {"precision", "recall", "estimated_rate", "no_detection"} & set(result)
    assert 0.15 < result["mean_score"] < 0.3


def test_what_is_wrong_with_the_scores_costs_no_accuracy(toy):
    split = make_split(toy, "sym20", seed=0)
    result = measure(Scored(np.inf), split)
    assert result["test_accuracy"] > 0.9
    assert result["no_detection"] == "ValueError: noise_scores must be finite, got inf in row 0."
    assert not {"average_precision", "mean_score"} & set(result)

    class Broken(KNeighborsClassifier):
        def predict_proba(self, X):
            raise RuntimeError("no probabilities today")

    result = measure(Broken(5), split)
    assert result["no_detection"] == "RuntimeError: no probabilities today"
    assert result["test_accuracy"] > 0.8
    (table,) = summarize([made("mine", 0, result["test_accuracy"], **result)]).details
    assert table.notes == ["mine: detection not measured, RuntimeError: no probabilities today"]


def test_labels_that_are_all_wrong(toy):
    split = make_split(toy, "clean", seed=0)
    split = replace(split, given=(split.true + 1) % 3)
    result = measure(KNeighborsClassifier(5), split)
    assert (result["true_rate"], result["test_accuracy"] < 0.2) == (1, True)
    assert result["no_detection"].startswith("all 240 labels are wrong")
    assert result["estimated_rate"] < 0.2


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_known_of_a_problem_is_so(name):
    problem = PROBLEMS[name]
    try:
        first, second = (problem.split(problem.noise[0], seed) for seed in (0, 1))
    except FileNotFoundError:
        pytest.skip("not on this machine")
    assert len(first.y_test) == problem.test_rows
    assert len(first.X) == problem.rows

    def pairs(split):
        rows = split.X.reshape(len(split.X), -1)
        return sorted(zip(map(bytes, np.ascontiguousarray(rows)), split.given.tolist(), strict=True))

    assert (pairs(first) == pairs(second)) == problem.fixed


# --- settings ---------------------------------------------------------------------------------------------------------


def configured(estimator, shared, seed=3):
    return runs.configured(estimator, shared, seed, "cpu").get_params()


@pytest.mark.parametrize("dtype", [str, object])
def test_labels_may_be_names(toy, dtype):
    def name(y):
        return np.array(["ant", "bee", "cat"])[y].astype(dtype)

    y, crowd = name(toy.y_train), name(np.maximum(toy.y_noisy["crowd"], 0))
    named = replace(toy, y_train=y, y_noisy={"crowd": crowd}, y_test=name(toy.y_test))
    plain = replace(toy, y_noisy={"crowd": np.maximum(toy.y_noisy["crowd"], 0)})
    methods = {"forest": RandomForestClassifier(10), "CE": CrossEntropyClassifier(max_epochs=2)}
    found = [run_comparison(methods, [data], ["crowd", "pair20"], [0], verbose=0) for data in (named, plain)]
    for mine, theirs in zip(*found, strict=True):
        assert "error" not in mine
        for name in ("test_accuracy", "test_f1", "true_rate", "average_precision"):
            assert mine["measures"][name] == theirs["measures"][name]


def test_seeds_and_shared_settings_reach_every_network():
    shared = {"module__width": 8, "max_epochs": 4}
    params = configured(make_pipeline(StandardScaler(), ELRClassifier()), shared)
    assert params["elrclassifier__module__width"] == 8
    assert params["elrclassifier__max_epochs"] == 4
    assert params["elrclassifier__random_state"] == 3
    assert params["elrclassifier__device"] == "cpu"
    assert configured(RandomForestClassifier(random_state=0), shared)["random_state"] == 3


def test_what_an_estimator_sets_itself_stays():
    mine = ELRClassifier("mlp", max_epochs=9)
    params = configured(mine, {"module": "cnn", "module__width": 8, "max_epochs": 4})
    assert (params["module"], params["max_epochs"]) == ("mlp", 9)
    assert "module__width" not in params
    assert configured(ELRClassifier(module__width=5), {"module__width": 8})["module__width"] == 5
    assert mine.random_state is None


def test_settings_hold_nested_parameters_and_what_auto_means():
    params = settings(make_pipeline(StandardScaler(), ELRClassifier()), 1257)
    assert (params["elrclassifier__batch_size"], params["elrclassifier__max_epochs"]) == (78, 50)
    assert params["standardscaler"] == "StandardScaler"
    assert not [name for name in params if name.endswith(("random_state", "device", "callbacks"))]
    assert json.loads(json.dumps(params)) == params


def test_find_wants_the_same_settings():
    row = {"method": "mine", "seed": 0, "params": {"a": 1}, "test_accuracy": 0.5}
    wanted = {"method": "mine", "seed": 0, "params": {"a": 1, "came_later": None}}
    unset = {"a": 0, "came_later": None}
    assert find([row], wanted, unset) is row
    assert find([row], wanted) is None
    assert find([{**row, "error": "no"}], wanted, unset) is None
    assert find([row], {**wanted, "seed": 1}, unset) is None
    assert find([row], {**wanted, "params": {"a": 2}}, unset) is None
    assert find([row], {**wanted, "params": {"a": 1, "came_later": 7}}, unset) is None
    assert find([row], {**wanted, "params": {"a": 1, "came__inside": None}}, unset) is None
    assert find([{**row, "params": {"a": 1, "gone": 3}}], wanted, unset) is None


def test_find_knows_which_defaults_a_stored_row_may_lack():
    def wanted(**params):
        estimator = make_pipeline(StandardScaler(), ELRClassifier(max_epochs=2, **params))
        return {"params": settings(estimator, 1257)}, defaults(estimator)

    first, unset = wanted()
    row = {"params": {k: v for k, v in first["params"].items() if not k.endswith(("__lam", "__head", "__with_std"))}}
    assert find([row], first, unset) is row
    for other in ({"module__width": 7}, {"optimizer__nesterov": True}, {"lam": 9.0}):
        assert find([row], *wanted(**other)) is None


def test_defaults_are_those_of_every_part():
    unset = defaults(ENTRIES["SANM(ELR)"].make().set_params(estimator__lam=9.0, estimator__module__width=5))
    assert unset["estimator__lam"] == ELRClassifier().lam
    assert "estimator__module__width" not in unset
    assert unset["estimator"] is None
    piped = defaults(make_pipeline(StandardScaler(), Mine(shift=1)))
    assert "steps" not in piped  # they must be given
    assert (piped["mine__shift"], piped["memory"]) == (0, None)
    assert defaults(MOITPlusClassifier())["finetune"] is True


def test_a_changed_recipe_runs_again(run, tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setitem(ENTRIES, "LR", Entry(lambda: Mine(log), 0.1))
    (first,) = run(["LR"], seeds=1)
    assert first["recipe"] == 1
    old = {k: v for k, v in first.items() if k != "recipe"}  # a row from before there was a recipe
    (tmp_path / "rows.jsonl").write_text(json.dumps(old) + "\n")
    assert run(["LR"], seeds=1) == [old]
    monkeypatch.setitem(ENTRIES, "LR", Entry(lambda: Mine(log), 0.1, recipe=2))
    (again,) = run(["LR"], seeds=1)
    assert (again["recipe"], log.read_text().split()) == (2, ["0", "0"])
    (mine,) = run({"mine": Mine(log)}, seeds=1)
    assert (mine["recipe"], log.read_text().split()) == (1, ["0", "0", "0"])
    assert run({"LR": Mine(log)}, seeds=1) == [again]  # what has a known name is as new as that


def test_the_estimate_is_of_the_recipe_and_the_rows(capsys, toy, tmp_path, monkeypatch):
    problem = Problem("toy", "a toy", lambda: toy, 240, ("crowd",), ("crowd",), seconds=100)
    monkeypatch.setitem(ENTRIES, "LR", Entry(DummyClassifier, 3.0, 30.0, recipe=2))
    path = tmp_path / "rows.jsonl"
    append_row(
        path, {"data": "toy", "method": "LR", "measures": {"seconds": 7000.0}}
    )  # of the first recipe: says nothing now
    run_comparison("LR", [problem], seeds=[3], results=path)
    assert "about 5 min to go" in capsys.readouterr().out
    append_row(path, {"data": "toy", "method": "LR", "recipe": 2, "measures": {"seconds": 50.0}})
    run_comparison("LR", [problem], seeds=[4], results=path)
    assert "about 25 s to go" in capsys.readouterr().out  # the median with the run before
    assert ENTRIES["LR"].times(10_000) == pytest.approx(30)
    assert ENTRIES["LR"].times(3162) == pytest.approx(3 * 10**0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["CE + views", "GCE + views"])
def test_views_are_all_that_is_not_at_its_default(name):
    with_views = settings(ENTRIES[name].make(), 1257)
    plain = settings(ENTRIES[name.removesuffix(" + views")].make(), 1257)
    assert {k for k in plain if plain[k] != with_views[k]} == {"augment"}
    assert name in summarize([made(name, 0, 0.5), made("CE", 0, 0.5), made("GCE", 0, 0.5)]).ranks.notes[-1]


def test_without_views_to_take_they_are_the_plain_ones():
    X = np.random.default_rng(0).normal(size=(60, 2, 3, 4, 5)).astype(np.float32)  # no image, no table
    y = np.arange(60) % 3
    proba = [
        runs.configured(ENTRIES[name].make(), {"max_epochs": 2}, 0, "cpu").fit(X, y).predict_proba(X)
        for name in ("CE", "CE + views")
    ]
    np.testing.assert_array_equal(*proba)


def test_a_parameter_that_is_no_number_is_found_again(run):
    imputed = make_pipeline(SimpleImputer(fill_value=np.inf), KNeighborsClassifier())
    (row,) = run({"imputed": imputed}, seeds=1)
    (again,) = run({"imputed": imputed}, seeds=1)
    assert row["params"]["simpleimputer__missing_values"] == "nan"
    assert again["date"] == row["date"]
    assert json.loads(json.dumps(row, allow_nan=False)) == again


@pytest.mark.parametrize("name", ENTRIES)
def test_named_methods_are_there(name):
    estimator = ENTRIES[name].make()
    assert hasattr(runs.configured(estimator, {"max_epochs": 2}, 0, "cpu"), "fit")
    assert ENTRIES[name].cost > 0


# --- the file ---------------------------------------------------------------------------------------------------------


def test_half_a_line_is_neither_read_nor_kept(tmp_path):
    path = tmp_path / "folder" / "rows.jsonl"
    assert read_rows(path) == []
    append_row(path, {"a": 1})
    append_row(path, {"a": 2})
    with path.open("a") as file:
        file.write('{"a": 3, "b"')  # a machine that went down
    assert read_rows(path) == [{"a": 1}, {"a": 2}]
    append_row(path, {"a": 4})
    assert path.read_text() == '{"a": 1}\n{"a": 2}\n{"a": 4}\n'


# --- many runs --------------------------------------------------------------------------------------------------------


def test_lines_of_another_kind_are_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"data": "a\\u2028b"}\n\nnot a row\n{"data": "c"}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3: this is not a row"):
        read_rows(path)


def test_a_row_says_it_all(run, tmp_path):
    (row,) = run({"short": ELRClassifier(max_epochs=3)}, seeds=[5])
    assert (row["data"], row["rows"], row["noise"], row["method"], row["seed"]) == ("toy", 240, "sym20", "short", 5)
    assert row["params"]["max_epochs"] == row["measures"]["epochs"] == 3
    for share in ("test_accuracy", "best_test_accuracy", "average_precision", "roc_auc", "estimated_rate"):
        assert 0 <= row["measures"][share] <= 1, share
    assert row["measures"]["true_rate"] == pytest.approx(0.2)
    assert row["measures"]["peak_mib"] > 50
    assert all(isinstance(value, int | float) for value in row["measures"].values())
    assert row["machine"]["threads"] == 1
    assert {"python", "torch", "robustlabels"} <= set(row["versions"])
    assert row["date"].startswith("20")
    assert "error" not in row
    assert read_rows(tmp_path / "rows.jsonl") == [row]


def test_any_classifier_can_be_compared(run):
    methods = {"mine": Mine(), "forest": RandomForestClassifier(5), "piped": make_pipeline(StandardScaler(), Mine())}
    rows = run(methods, noise=["crowd", SymmetricNoise(0.1)])
    assert len(rows) == 3 * 2 * 2
    assert {row["noise"] for row in rows} == {
        "crowd",
        "SymmetricNoise(rate=0.1)",
    }
    by_name = {
        (row["method"], row["seed"]): row["measures"]["test_accuracy"] for row in rows if row["noise"] == "crowd"
    }
    assert by_name["mine", 0] > 0.9
    assert by_name["forest", 0] != by_name["forest", 1]
    listed = run([Mine(), "LR"], seeds=1)
    assert [row["method"] for row in listed] == ["Mine", "LR"]


def test_stored_runs_are_not_repeated(run, tmp_path):
    log = tmp_path / "log"
    first = run({"mine": Mine(log)})
    assert log.read_text().split() == ["0", "1"]
    assert run({"mine": Mine(log)}) == first
    assert log.read_text().split() == ["0", "1"]
    assert len(run({"mine": Mine(log)}, seeds=3)) == 3  # one more seed is one more run
    assert log.read_text().split() == ["0", "1", "2"]
    changed = run({"mine": Mine(log, shift=1)}, seeds=1)  # another parameter is another run
    assert changed[0]["measures"]["test_accuracy"] < 0.1
    assert len(read_rows(tmp_path / "rows.jsonl")) == 4


def test_other_data_of_the_same_name_are_other_runs(run, toy, tmp_path):
    (row,) = run({"mine": Mine()}, seeds=1)
    other = replace(toy, X_train=-toy.X_train, X_test=-toy.X_test)
    (changed,) = run_comparison({"mine": Mine()}, [other], ["sym20"], 1, results=tmp_path / "rows.jsonl", verbose=0)
    assert row["contents"] != changed["contents"]
    assert row["measures"]["test_accuracy"] > 0.9 > changed["measures"]["test_accuracy"]


@pytest.mark.parametrize("part", ["y_noisy", "X_test", "y_test"])
def test_other_noisy_labels_and_test_rows_are_other_runs(run, toy, tmp_path, part):
    (row,) = run({"mine": Mine()}, seeds=1)
    changed = {"crowd": toy.y_noisy["crowd"][::-1].copy()} if part == "y_noisy" else getattr(toy, part)[::-1].copy()
    (other,) = run_comparison(
        {"mine": Mine()}, [replace(toy, **{part: changed})], ["sym20"], 1, results=tmp_path / "rows.jsonl", verbose=0
    )
    assert row["contents"] != other["contents"]
    assert len(read_rows(tmp_path / "rows.jsonl")) == 2
    assert run({"mine": Mine()}, seeds=1) == [row]


def test_seeds_may_be_an_array(run, tmp_path):
    rows = run({"mine": Mine()}, seeds=np.arange(2))
    assert [row["seed"] for row in rows] == [row["seed"] for row in read_rows(tmp_path / "rows.jsonl")] == [0, 1]


def test_two_at_a_time_give_what_one_gives(run, tmp_path):
    methods = {"forest": RandomForestClassifier(5), "elr": ELRClassifier(max_epochs=3), "mine": Mine()}
    settings = ("data", "noise", "method", "seed", "params")
    measures = ("test_accuracy", "mean_score", "average_precision")

    def compared(rows):
        return [[row[k] for k in settings] + [row["measures"].get(k) for k in measures] for row in rows]

    one = run(methods, results=None)
    two = run(methods, n_jobs=2)
    assert compared(one) == compared(two)
    assert len(read_rows(tmp_path / "rows.jsonl")) == 6


class Fails(Mine):
    """Raises, or takes its process with it, as long as the log is not there."""

    def fit(self, X, y):
        if not os.path.exists(self.log):
            if self.shift:
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError("no log yet")
        return super().fit(X, y)


def test_a_failure_is_a_row_and_is_tried_again(run, tmp_path, capsys):
    log = tmp_path / "log"
    methods = {"raises": Fails(log), "killed": Fails(log, shift=3), "mine": Mine()}
    rows = {row["method"]: row for row in run(methods, seeds=1, verbose=1)}
    assert rows["raises"]["error"] == "RuntimeError: no log yet"
    assert "line" in rows["raises"]["traceback"]
    assert rows["killed"]["error"] == "the process ended with status -9 (killed)"
    assert rows["mine"]["measures"]["test_accuracy"] > 0.9
    assert "failed: RuntimeError: no log yet" in capsys.readouterr().out
    table = str(summarize(rows.values()))
    assert "raises, sym20: RuntimeError: no log yet" in table
    log.touch()
    again = run(methods, seeds=1)
    assert [row["measures"]["test_accuracy"] > 0.9 for row in again] == [True] * 3
    stored = read_rows(tmp_path / "rows.jsonl")
    assert len(stored) == 5  # both failures, and three measured
    assert "failed" not in str(summarize(stored))


KILLED = """
import sys, time
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from robustlabels.comparison import run_comparison

class Slow(ClassifierMixin, BaseEstimator):
    def __init__(self, log=None, random_state=None):
        self.log, self.random_state = log, random_state
    def fit(self, X, y):
        with open(self.log, "a") as file:
            file.write(f"{self.random_state}\\n")
        time.sleep(0 if self.random_state == 0 else float(sys.argv[3]))
        self.classes_ = np.unique(y)
        return self
    def predict(self, X):
        return np.zeros(len(X), dtype=int)

rows = run_comparison({"slow": Slow(sys.argv[2])}, ["digits"], ["sym40"], 3, results=sys.argv[1], n_jobs=2)
print(len(rows), "rows")
"""


def until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def test_killed_and_started_again(tmp_path):
    script, rows, log = (tmp_path / name for name in ("script.py", "rows.jsonl", "log"))
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(rows), str(log)]
    with subprocess.Popen([*command, "60"], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
        until(lambda: len(read_rows(rows)) == 1 and log.exists() and len(log.read_text().split()) == 3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    until(lambda: not members_of(process.pid), 10)  # runs do not outlive whoever started them
    assert rows.read_bytes().endswith(b"}\n")
    first = read_rows(rows)
    done = subprocess.run([*command, "0"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "3 runs, 1 of them stored" in done.stdout
    assert done.stdout.endswith("3 rows\n")
    assert read_rows(rows)[0] == first[0]
    assert sorted(row["seed"] for row in read_rows(rows)) == [0, 1, 2]
    assert sorted(log.read_text().split()) == ["0", "1", "1", "2", "2"]


def members_of(session):
    """Processes, not yet reaped ones aside, of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            found.append(stat.parent.name)
    return found


def test_data_that_are_not_there_are_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ROBUSTLABELS_DATA", str(tmp_path))
    results = tmp_path / "rows.jsonl"
    rows = run_comparison(
        {"mine": DummyClassifier()}, ["noisyag_news", "digits"], ["human", "clean"], 1, results=results
    )
    assert [row["data"] for row in rows] == ["digits"]
    assert read_rows(results) == rows
    out = capsys.readouterr().out
    assert "not run: noisyag_news:" in out
    assert "noisyag_news.npz" in out


def test_what_takes_too_long_is_said(toy, capsys):
    problem = Problem("toy", "a toy", lambda: toy, 240, ("crowd",), ("crowd",), too_costly={"GB": "a year"})
    rows = run_comparison(["LR", "GB"], [problem], seeds=1)
    assert [row["method"] for row in rows] == ["LR"]
    assert "not run: GB on toy: a year" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["ELRR"]}, r"method 'ELRR' is unknown.*ELR"),
        ({"methods": [Mine(), Mine(shift=1)]}, "Every method needs a different name, got Mine, Mine; pass a dict"),
        ({"data": ["digit"]}, r"data set 'digit' is unknown.*digits"),
        ({"noise": ["worse"]}, r"noise 'worse' is unknown for digits; known are clean, sym20"),
        ({"noise": ["sym400"]}, r"noise 'sym400' is unknown for digits"),
        ({"seeds": 0}, r"seeds must be an integer in \[1, inf\), got 0"),
        ({"seeds": [0, 1.5]}, r"a seed must be an integer in \[0, inf\), got 1\.5"),
        ({"n_jobs": 0}, r"n_jobs must be an integer in \[1, inf\), got 0"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        run_comparison(**arguments, verbose=0)


def test_suites_name_what_there_is():
    for suite in SUITES.values():
        for name in suite.data:
            problem = PROBLEMS[name]
            assert all(problem.takes(noise) for noise in suite.noise or problem.noise)
    assert set(SUITES["core"].data) | set(SUITES["pixels"].data) == set(PROBLEMS)


# --- what came out ----------------------------------------------------------------------------------------------------


def made(method, seed, accuracy, noise="sym40", **more):
    """A row as the comparison stores it: numbers that do not identify the run are measures."""
    run = {"data": "digits", "rows": 1257, "noise": noise, "method": method, "seed": seed, "params": {}}
    run |= {name: more.pop(name) for name in ("data", "rows", "params", "recipe") if name in more}
    result = {"test_accuracy": accuracy, "test_f1": accuracy, "true_rate": 0.4, "average_precision": accuracy / 2}
    return make_row(run, {**result, **more}, about={})


def failed_row(*args, **more):
    return {**made(*args, **more), "measures": {}, "error": "gone"}


def test_means_are_over_seeds():
    rows = [made("ELR", 0, 0.9), made("ELR", 1, 0.8), made("CE", 0, 0.7), made("CE", 0, 0.6), made("mine", 0, 0.5)]
    rows += [made("CE", 0, 0.8, noise="pair40")]
    summary = summarize(rows)
    (table,) = summary.scores
    assert table.head == ["method", "sym40 (40.0 % wrong)", "pair40 (40.0 % wrong)"]
    assert table.rows == [  # the last row of a seed counts; fewer seeds are told
        ["CE", "0.600 (1)", "0.800 (1)"],
        ["ELR", "0.850 ± 0.071", ""],
        ["mine", "0.500 (1)", ""],
    ]
    assert [detail.title for detail in summary.details] == ["digits, sym40", "digits, pair40"]
    elr = dict(zip(summary.details[0].head, summary.details[0].rows[1], strict=True))
    assert (elr["detection AP"], elr["at the best epoch"]) == ("0.425 ± 0.035", "")
    assert summary.ranks.rows == [
        ["ELR", "1", "0.00", "0.00", "1 of 1"],
        ["CE", "1", "0.50", "0.50", "0 of 1"],
        ["mine", "1", "1.00", "1.00", "0 of 1"],
    ]


def test_places_are_on_common_seeds():
    # over their own seeds ELR (0.7) is behind CE (0.8); on the one that both have it is better
    rows = [made("ELR", 0, 0.9), made("ELR", 1, 0.5), made("CE", 0, 0.8), made("mine", 2, 0.99)]
    assert summarize(rows).ranks.rows == [["ELR", "1", "0.00", "0.00", "1 of 1"], ["CE", "1", "1.00", "1.00", "0 of 1"]]
    assert [(row["method"], row["seed"]) for row in common_seeds(rows[:3])] == [("CE", 0), ("ELR", 0)]
    assert common_seeds(rows) == []  # no seed is of all three
    assert len(common_seeds([*rows[:3], failed_row("LR", 0, 0)])) == 2
    assert behind(rows, ["CE", "mine"]).rows == [["digits, sym40", "none", ""]]
    assert behind(rows, ["ELR"]).rows == [["digits, sym40", "CE −0.100"]]


def test_places_are_averaged_within_a_set_first():
    rows = [made(m, 0, a, noise) for noise in ("sym20", "sym40", "sym60") for m, a in (("CE", 0.5), ("ELR", 0.9))]
    rows += [made(m, 0, a, "worse", data="cifar10_feats") for m, a in (("CE", 0.9), ("ELR", 0.5))]
    assert [row[:3] + row[4:] for row in summarize(rows).ranks.rows] == [
        ["CE", "2", "0.50", "1 of 4"],
        ["ELR", "2", "0.50", "3 of 4"],
    ]


def test_costs_are_beside_the_same_run():
    rows = [made("CE", seed, 0.5, cpu_seconds=2.0 + seed) for seed in (0, 1)]
    rows += [made("ELR", 1, 0.5, cpu_seconds=6.0), made("LR", 2, 0.5, cpu_seconds=1.0)]
    rows += [made("ELR", 0, 0.5, data="cifar10_feats", cpu_seconds=1.0)]
    table = costs(rows)
    assert table.head == ["method", "digits", "cifar10_feats"]
    assert table.rows == [["CE", "1 (2.5 s)", ""], ["ELR", "2.0", ""], ["LR", "", ""]]


def test_the_test_part_has_a_standard_error():
    assert summarize([made("CE", 0, 0.8)]).scores[0].notes == [
        "one standard error of the test part: 0.017, at an accuracy of 0.80 on 540 rows"
    ]
    (mine,) = summarize([made("CE", 0, 0.5, data="mine", test_rows=100)]).scores
    assert mine.notes[-1].startswith("one standard error of the test part: 0.050")
    (jira,) = summarize([made("CE", 0, 0.9, noise="heuristic", data="jira_defects_dev")]).scores
    assert jira.notes[-1].endswith("19,176 rows; F1 rests on the rows of its class alone, and moves more")


def test_what_seeds_do_not_vary_is_said():
    said = "rows, labels and test part are the same for every seed"
    for data, noise, fixed in (
        ("wrench_trec", "majority_vote", 1),
        ("wrench_trec", "sym40", 0),
        ("digits", "sym40", 0),
    ):
        (table,) = summarize([made("CE", 0, 0.5, noise=noise, data=data)]).scores
        assert sum(note.startswith(said) for note in table.notes) == fixed


def test_only_runs_with_one_setting_are_averaged():
    rows = [made("mine", seed, 0.5, params={"a": 1}) for seed in range(3)] + [made("mine", 0, 0.9, params={"a": 2})]
    assert summarize(rows).scores[0].rows == [["mine", "0.900"]]


def test_a_row_stays_what_it_is_when_its_method_gets_a_parameter():
    params = settings(ENTRIES["ELR"].make(), 1257)
    older = {name: value for name, value in params.items() if name != "lam"}
    rows = [made("ELR", 0, 0.5, params=older), made("ELR", 1, 0.7, params=params)]
    (table,) = summarize(rows).scores
    assert table.rows == [["ELR", "0.600 ± 0.141"]]
    assert len(table.notes) == 1  # the standard error
    assert summarize(rows[::-1]).scores[0].rows == table.rows
    rows[1] = made("ELR", 1, 0.7, params={**params, "lam": 9.0})
    (table,) = summarize(rows).scores
    assert table.rows == [["ELR", "0.700"]]
    assert table.notes[0] == f"ELR: run with lam 9.0, now {params['lam']!r}"


def test_only_the_newest_recipe_counts():
    old = [made("MOIT", seed, 0.5, noise) for noise in ("sym20", "sym40") for seed in (0, 1)]
    new = made("MOIT", 0, 0.9, "sym40", recipe=2)
    for rows in ([*old, new], [new, *old]):  # an older version may append later
        (table,) = summarize(rows).scores
        assert (table.head[1][:5], table.rows) == ("sym40", [["MOIT", "0.900"]])
        assert len(table.notes) == 1
    assert summarize(old).scores[0].notes[0] == "MOIT: run before its code or its automatic settings were changed"


def test_columns_of_one_method_with_different_settings_are_told():
    rows = [made("mine", 0, 0.5, noise, params={"a": a, "b": 0}) for noise, a in (("sym20", 1), ("sym40", 2))]
    assert summarize(rows).scores[0].notes[0] == "mine: not the same in all columns, a is 1 in sym20; 2 in sym40"


def test_a_new_setting_that_fails_is_not_hidden_by_old_rows():
    failed = failed_row("mine", 0, 0, params={"a": 2})
    rows = [made("mine", seed, 0.9, params={"a": 1}) for seed in range(3)] + [failed]
    (table,) = summarize([*rows, made("CE", 0, 0.5)]).scores
    assert table.rows == [["CE", "0.500"], ["mine", "failed"]]
    assert table.notes[0] == "mine, sym40: gone"
    again = made("MOIT", 0, 0.9), {**failed, "method": "MOIT", "recipe": 2}
    assert summarize(again).scores[0].rows == [["MOIT", "failed"]]


def test_a_failure_does_not_hide_what_was_measured():
    rows = [made("mine", 0, 0.5), {**made("mine", 0, 0.0), "error": "gone"}]
    assert summarize(rows).scores[0].rows == [["mine", "0.500"]]
    (table,) = summarize([failed_row("mine", 0, 0), made("CE", 0, 0.4)]).scores
    assert table.rows == [["CE", "0.400"], ["mine", "failed"]]
    assert table.notes[0] == "mine, sym40: gone"


@pytest.mark.parametrize("method", ["ELR", "IR(ELR)", "CL + CE"])
def test_what_a_set_shares_is_no_departure_in_any_part(method):
    problem = PROBLEMS["fashion_mnist"]
    params = settings(runs.configured(ENTRIES[method].make(), problem.shared, 0, "cpu"), problem.rows)
    row = made(method, 0, 0.5, data=problem.name, rows=problem.rows, params=params, recipe=ENTRIES[method].recipe)
    assert not [note for note in summarize([row]).scores[0].notes if "run with" in note]


def test_too_costly_cells_say_so():
    (table,) = summarize([{**made("CE", 0, 0.4), "data": "cifar10"}]).scores
    assert table.rows == [["CE", "0.400"], ["SANM(DivideMix)", "too costly"], ["GB", "too costly"]]
    assert [note.partition(": not run, ")[0] for note in table.notes[:2]] == ["SANM(DivideMix)", "GB"]


def test_pictures(tmp_path):
    rows = [made(m, seed, 0.9 - seed / 10, noise, best_test_accuracy=0.95)
            for m in ("CE", "mine") for seed in (0, 1) for noise in ("sym40", "pair40")]  # fmt: skip
    (path,) = comparison.plot(rows, tmp_path / "pictures")
    assert path == tmp_path / "pictures" / "digits.png"
    assert path.read_bytes().startswith(b"\x89PNG")


# --- the command ------------------------------------------------------------------------------------------------------


def test_command(tmp_path, capsys):
    results = tmp_path / "rows.jsonl"
    command = ["compare", "smoke", "--results", str(results)]
    assert main([*command, "--methods", "LR", "--seeds", "0", "1", "--plot", str(tmp_path / "pictures")]) == 0
    out = capsys.readouterr().out
    assert "2 runs, 0 of them stored; about " in out
    assert "[2/2] digits" in out
    assert "method  sym40 (40.0 % wrong)\nLR      0." in out
    assert (tmp_path / "pictures" / "digits.png").exists()
    assert [row["seed"] for row in read_rows(results)] == [0, 1]
    assert main([*command, "--table"]) == 0
    assert capsys.readouterr().out.strip() == str(summarize(read_rows(results)))


def test_tables_and_pictures_of_what_was_asked_for(tmp_path, capsys):
    results, pictures = tmp_path / "rows.jsonl", tmp_path / "pictures"
    rows = [made(m, s, 0.5 + s / 10, noise) for m in ("CE", "LR") for s in (0, 1) for noise in ("sym20", "sym40")]
    rows += [made("CE", 0, 0.5, data="cifar10_feats", noise="worse")]
    for row in rows:
        append_row(results, row)
    command = ["compare", "core", "--results", str(results), "--table"]
    only = ["--data", "digits", "--methods", "CE", "--noise", "sym40", "--seeds", "1"]
    assert main([*command, *only, "--plot", str(pictures)]) == 0
    out = capsys.readouterr().out
    assert "method  sym40 (40.0 % wrong)\nCE      0.600\n" in out
    assert not [word for word in ("LR", "cifar10", "sym20", "0.500") if word in out.partition("drawn:")[0]]
    assert [path.name for path in pictures.iterdir()] == ["digits.png"]
    assert main([*command, "--data", "cifar10_feats", "--methods", "LR"]) == 2
    assert "No stored row has method LR; of the other choices the rows have CE." in capsys.readouterr().err


def test_detection_that_could_not_be_measured_fails_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(ENTRIES, "LR", Entry(lambda: Scored(np.inf), 0.1))
    assert main(["compare", "smoke", "--results", str(tmp_path / "rows.jsonl"), "--methods", "LR"]) == 1
    assert "detection not measured: ValueError: noise_scores must be finite" in capsys.readouterr().out


def test_ci_runs_the_smoke_suite_before_the_tests():
    steps = (ROOT / ".ci" / "run").read_text().split("\n")
    assert steps.index("make smoke") < steps.index("make test")
    assert steps[steps.index("make test") :] == ["make test", ""]
    target = (ROOT / "Makefile").read_text().partition("\nsmoke:")[2].partition("\n\n")[0]
    assert "-m robustlabels compare smoke" in target
    assert "mktemp" in target


@pytest.mark.skipif(torch.cuda.is_available(), reason="fails where there is no GPU")
def test_command_says_that_a_run_failed(tmp_path, capsys):
    command = ["compare", "smoke", "--results", str(tmp_path / "rows.jsonl")]
    assert main([*command, "--methods", "CE", "--device", "cuda"]) == 1
    assert "CE, sym40: ValueError: device='cuda' is not available" in capsys.readouterr().out
    assert main([*command, "--table"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "SVM"], "method 'SVM' is unknown"),
        (["--table"], "has no rows; run the suite without --table first"),
    ],
)
def test_command_refuses_in_one_line(options, message, tmp_path, capsys):
    assert main(["compare", "smoke", "--results", str(tmp_path / "rows.jsonl"), *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


# --- slow -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_smoke_suite(tmp_path):
    """Every named method comes through on digits, and what is robust is better than cross-entropy."""
    results = tmp_path / "rows.jsonl"
    started = time.perf_counter()
    assert main(["compare", "smoke", "--results", str(results)]) == 0
    print(f"{time.perf_counter() - started:.0f} s")
    rows = {row["method"]: row for row in read_rows(results)}
    assert not {name: row["error"] for name, row in rows.items() if "error" in row}
    assert set(rows) == set(ENTRIES)
    for name, row in rows.items():
        assert row["measures"]["true_rate"] == pytest.approx(0.4, abs=0.001)
        assert row["measures"]["average_precision"] > 0.5, name
    for name in ("ELR", "MOIT", "MOIT+", "DivideMix", "SANM(ELR)"):
        assert rows[name]["measures"]["test_accuracy"] > rows["CE"]["measures"]["test_accuracy"] + 0.1, name


@pytest.mark.slow
def test_without_fork(run, monkeypatch):
    monkeypatch.setattr(runs, "start_method", lambda device="cpu": "spawn")
    (row,) = run(["LR"], seeds=1)
    assert row["measures"]["test_accuracy"] > 0.9


def test_one_thing_alone_is_a_list_of_one():
    (row,) = run_comparison("LR", "digits", "sym40", 1, verbose=0)
    assert (row["method"], row["data"], row["noise"]) == ("LR", "digits", "sym40")
    pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier())
    (row,) = run_comparison(pipeline, noise=SymmetricNoise(0.2), seeds=1, verbose=0)
    assert (row["method"], row["noise"]) == ("Pipeline", "SymmetricNoise(rate=0.2)")
    forest = RandomForestClassifier(3)  # has a length, and can be iterated over
    (row,) = run_comparison(forest, noise="sym40", seeds=1, verbose=0)
    assert (row["method"], row["params"]["n_estimators"]) == ("RandomForestClassifier", 3)
