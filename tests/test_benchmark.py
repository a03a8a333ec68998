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

from robustlabels import CrossEntropyClassifier, ELRClassifier, ELRPlusClassifier, MOITPlusClassifier, benchmark
from robustlabels.__main__ import main
from robustlabels.benchmark import (
    METHODS,
    PROBLEMS,
    SUITES,
    Problem,
    append_row,
    find,
    make_split,
    measure,
    read_rows,
    relabelled,
    run_benchmark,
    runs,
    settings,
    summarise,
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
    """``run_benchmark`` on the toy, stored in a file."""

    def call(methods, noise=("sym20",), seeds=2, **options):
        options = {"results": tmp_path / "rows.jsonl", "verbose": 0, **options}
        return run_benchmark(methods, [toy], noise, seeds, **options)

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
    given = relabelled(y, noise, seed=0)
    assert (given != y).mean() == pytest.approx(rate)
    np.testing.assert_array_equal(given, relabelled(y, noise, seed=0))
    if rate:
        assert (given != relabelled(y, noise, seed=1)).any()


def test_instance_dependent_noise_does_not_look_at_units():
    X, y = np.random.default_rng(0).normal(size=(2000, 4)), np.arange(2000) % 4
    given = relabelled(y, "idn40", 0, X)
    assert (given != y).mean() == pytest.approx(0.4, abs=0.04)
    np.testing.assert_array_equal(given, relabelled(y, "idn40", 0, 1000 * X + 7))
    np.testing.assert_array_equal(given, relabelled(y, InstanceDependentNoise(0.4), 0, X))


def test_a_simulator_is_seeded_anew_and_left_alone():
    noise = SymmetricNoise(0.5, random_state=9)
    y = np.arange(300) % 3
    assert (relabelled(y, noise, 0) != relabelled(y, noise, 1)).any()
    assert noise.random_state == 9


def test_unknown_noise_is_named():
    with pytest.raises(ValueError, match=r"'clean', 'sym40', .* got 'sim40'"):
        relabelled(np.arange(4), "sim40", 0)


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
    found = [run_benchmark(methods, [data], ["crowd", "pair20"], [0], verbose=0) for data in (named, plain)]
    for mine, theirs in zip(*found, strict=True):
        assert "error" not in mine
        for measure_ in ("test_accuracy", "test_f1", "true_rate", "average_precision"):
            assert mine[measure_] == theirs[measure_]


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
    assert find([row], wanted) is row
    assert find([{**row, "error": "no"}], wanted) is None
    assert find([row], {**wanted, "seed": 1}) is None
    assert find([row], {**wanted, "params": {"a": 2}}) is None
    assert find([{**row, "params": {"a": 1, "gone": 3}}], wanted) is None


def test_a_parameter_that_is_no_number_is_found_again(run):
    imputed = make_pipeline(SimpleImputer(fill_value=np.inf), KNeighborsClassifier())
    (row,) = run({"imputed": imputed}, seeds=1)
    (again,) = run({"imputed": imputed}, seeds=1)
    assert row["params"]["simpleimputer__missing_values"] == "nan"
    assert again["date"] == row["date"]
    assert json.loads(json.dumps(row, allow_nan=False)) == again


@pytest.mark.parametrize("name", METHODS)
def test_named_methods_are_there(name):
    estimator = METHODS[name].make()
    assert hasattr(runs.configured(estimator, {"max_epochs": 2}, 0, "cpu"), "fit")
    assert METHODS[name].cost > 0


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
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3: this is no row"):
        read_rows(path)


def test_a_row_says_it_all(run, tmp_path):
    (row,) = run({"short": ELRClassifier(max_epochs=3)}, seeds=[5])
    assert (row["data"], row["rows"], row["noise"], row["method"], row["seed"]) == ("toy", 240, "sym20", "short", 5)
    assert row["params"]["max_epochs"] == row["epochs"] == 3
    for share in ("test_accuracy", "best_test_accuracy", "average_precision", "roc_auc", "estimated_rate"):
        assert 0 <= row[share] <= 1, share
    assert row["true_rate"] == pytest.approx(0.2)
    assert row["peak_mib"] > 50
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
    by_name = {(row["method"], row["seed"]): row["test_accuracy"] for row in rows if row["noise"] == "crowd"}
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
    assert changed[0]["test_accuracy"] < 0.1
    assert len(read_rows(tmp_path / "rows.jsonl")) == 4


def test_other_data_of_the_same_name_are_other_runs(run, toy, tmp_path):
    (row,) = run({"mine": Mine()}, seeds=1)
    other = replace(toy, X_train=-toy.X_train, X_test=-toy.X_test)
    (changed,) = run_benchmark({"mine": Mine()}, [other], ["sym20"], 1, results=tmp_path / "rows.jsonl", verbose=0)
    assert row["contents"] != changed["contents"]
    assert row["test_accuracy"] > 0.9 > changed["test_accuracy"]


def test_two_at_a_time_give_what_one_gives(run, tmp_path):
    methods = {"forest": RandomForestClassifier(5), "elr": ELRClassifier(max_epochs=3), "mine": Mine()}
    measured = ("data", "noise", "method", "seed", "params", "test_accuracy", "mean_score", "average_precision")
    one = run(methods, results=None)
    two = run(methods, n_jobs=2)
    assert [[row.get(k) for k in measured] for row in one] == [[row.get(k) for k in measured] for row in two]
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
    assert rows["mine"]["test_accuracy"] > 0.9
    assert "failed: RuntimeError: no log yet" in capsys.readouterr().out
    table = str(summarise(rows.values()))
    assert "raises, sym20: RuntimeError: no log yet" in table
    log.touch()
    again = run(methods, seeds=1)
    assert [row["test_accuracy"] > 0.9 for row in again] == [True] * 3
    stored = read_rows(tmp_path / "rows.jsonl")
    assert len(stored) == 5  # both failures, and three measured
    assert "failed" not in str(summarise(stored))


KILLED = """
import sys, time
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from robustlabels.benchmark import run_benchmark

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

rows = run_benchmark({"slow": Slow(sys.argv[2])}, ["digits"], ["sym40"], 3, results=sys.argv[1], n_jobs=2)
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
    rows = run_benchmark(
        {"mine": DummyClassifier()}, ["noisyag_news", "digits"], ["human", "clean"], 1, results=results
    )
    assert [row["data"] for row in rows] == ["digits"]
    assert read_rows(results) == rows
    out = capsys.readouterr().out
    assert "not run: noisyag_news:" in out
    assert "noisyag_news.npz" in out


def test_what_takes_too_long_is_said(toy, capsys):
    problem = Problem("toy", "a toy", lambda: toy, 240, ("crowd",), ("crowd",), too_costly={"GB": "a year"})
    rows = run_benchmark(["LR", "GB"], [problem], seeds=1)
    assert [row["method"] for row in rows] == ["LR"]
    assert "not run: GB on toy: a year" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"methods": ["ELRR"]}, r"unknown method 'ELRR'.*ELR"),
        ({"methods": [Mine(), Mine(shift=1)]}, "each method needs a name of its own, got Mine, Mine; pass a dict"),
        ({"data": ["digit"]}, r"unknown data set 'digit'.*digits"),
        ({"noise": ["worse"]}, r"unknown noise 'worse' for digits; there is clean, sym20"),
        ({"noise": ["sym400"]}, r"unknown noise 'sym400' for digits"),
        ({"seeds": 0}, r"seeds must be an integer in \[1, inf\), got 0"),
        ({"n_jobs": 0}, r"n_jobs must be an integer in \[1, inf\), got 0"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        run_benchmark(**arguments, verbose=0)


def test_suites_name_what_there_is():
    for suite in SUITES.values():
        for name in suite.data:
            problem = PROBLEMS[name]
            assert all(problem.takes(noise) for noise in suite.noise or problem.noise)
    assert set(SUITES["core"].data) | set(SUITES["pixels"].data) == set(PROBLEMS)


# --- what came out ----------------------------------------------------------------------------------------------------


def made(method, seed, accuracy, noise="sym40", **more):
    return {
        "data": "digits", "rows": 1257, "noise": noise, "method": method, "seed": seed, "params": {},
        "test_accuracy": accuracy, "test_f1": accuracy, "true_rate": 0.4, "average_precision": accuracy / 2, **more,
    }  # fmt: skip


def test_means_are_over_seeds():
    rows = [made("ELR", 0, 0.9), made("ELR", 1, 0.8), made("CE", 0, 0.7), made("CE", 0, 0.6), made("mine", 2, 0.5)]
    rows += [made("CE", 0, 0.8, noise="pair40")]
    summary = summarise(rows)
    (table,) = summary.scores
    assert table.head == ["method", "sym40 (40.0 % wrong)", "pair40 (40.0 % wrong)"]
    assert table.rows == [  # the last row of a seed counts; fewer seeds are told
        ["CE", "0.600 (1)", "0.800 (1)"],
        ["ELR", "0.850 ± 0.071", ""],
        ["mine", "0.500 (1)", ""],
    ]
    assert [detail.title for detail in summary.details] == ["digits, sym40", "digits, pair40"]
    elr = dict(zip(summary.details[0].head, summary.details[0].rows[1], strict=True))
    assert (elr["suspects' AP"], elr["at the best epoch"]) == ("0.425 ± 0.035", "")
    assert summary.ranks.rows == [
        ["ELR", "1", "0.00", "0.00", "1"],
        ["CE", "1", "0.50", "0.50", "0"],
        ["mine", "1", "1.00", "1.00", "0"],
    ]


def test_only_runs_with_one_setting_are_averaged():
    rows = [made("mine", seed, 0.5, params={"a": 1}) for seed in range(3)] + [made("mine", 0, 0.9, params={"a": 2})]
    assert summarise(rows).scores[0].rows == [["mine", "0.900"]]


def test_a_failure_does_not_hide_what_was_measured():
    rows = [made("mine", 0, 0.5), {**made("mine", 0, 0.0), "error": "gone"}]
    assert summarise(rows).scores[0].rows == [["mine", "0.500"]]
    failed = {k: v for k, v in made("mine", 0, 0).items() if k in ("data", "rows", "noise", "method", "seed", "params")}
    (table,) = summarise([{**failed, "error": "gone"}, made("CE", 0, 0.4)]).scores
    assert table.rows == [["CE", "0.400"], ["mine", "failed"]]
    assert table.notes == ["mine, sym40: gone"]


def test_too_costly_cells_say_so():
    (table,) = summarise([{**made("CE", 0, 0.4), "data": "cifar10"}]).scores
    assert table.rows == [["CE", "0.400"], ["GB", "too costly"]]
    assert table.notes[0].startswith("GB: not run, ")


def test_pictures(tmp_path):
    rows = [made(m, seed, 0.9 - seed / 10, noise, best_test_accuracy=0.95)
            for m in ("CE", "mine") for seed in (0, 1) for noise in ("sym40", "pair40")]  # fmt: skip
    (path,) = benchmark.plot(rows, tmp_path / "pictures")
    assert path == tmp_path / "pictures" / "digits.png"
    assert path.read_bytes().startswith(b"\x89PNG")


# --- the command ------------------------------------------------------------------------------------------------------


def test_command(tmp_path, capsys):
    results = tmp_path / "rows.jsonl"
    command = ["benchmark", "smoke", "--results", str(results)]
    assert main([*command, "--methods", "LR", "--seeds", "0", "1", "--plot", str(tmp_path / "pictures")]) == 0
    out = capsys.readouterr().out
    assert "2 runs, 0 of them stored; about " in out
    assert "[2/2] digits" in out
    assert "method  sym40 (40.0 % wrong)\nLR      0." in out
    assert (tmp_path / "pictures" / "digits.png").exists()
    assert [row["seed"] for row in read_rows(results)] == [0, 1]
    assert main([*command, "--table"]) == 0
    assert capsys.readouterr().out.strip() == str(summarise(read_rows(results)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="fails where there is no GPU")
def test_command_says_that_a_run_failed(tmp_path, capsys):
    command = ["benchmark", "smoke", "--results", str(tmp_path / "rows.jsonl")]
    assert main([*command, "--methods", "CE", "--device", "cuda"]) == 1
    assert "CE, sym40: ValueError: device='cuda' was asked for" in capsys.readouterr().out
    assert main([*command, "--table"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--methods", "SVM"], "unknown method 'SVM'"), (["--table"], "has no rows; run the suite without --table first")],
)
def test_command_refuses_in_one_line(options, message, tmp_path, capsys):
    assert main(["benchmark", "smoke", "--results", str(tmp_path / "rows.jsonl"), *options]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


# --- slow -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_smoke_suite(tmp_path):
    """Every named method comes through on digits, and what is robust is better than cross-entropy."""
    results = tmp_path / "rows.jsonl"
    started = time.perf_counter()
    assert main(["benchmark", "smoke", "--results", str(results)]) == 0
    print(f"{time.perf_counter() - started:.0f} s")
    rows = {row["method"]: row for row in read_rows(results)}
    assert not {name: row["error"] for name, row in rows.items() if "error" in row}
    assert set(rows) == set(METHODS)
    for name, row in rows.items():
        assert row["true_rate"] == pytest.approx(0.4, abs=0.001)
        assert row["average_precision"] > 0.5, name
    for name in ("ELR", "MOIT", "MOIT+", "DivideMix", "SANM(ELR)"):
        assert rows[name]["test_accuracy"] > rows["CE"]["test_accuracy"] + 0.1, name


@pytest.mark.slow
def test_without_fork(run, monkeypatch):
    monkeypatch.setattr(runs, "start_method", lambda device="cpu": "spawn")
    (row,) = run(["LR"], seeds=1)
    assert row["test_accuracy"] > 0.9


def test_one_thing_alone_is_a_list_of_one():
    (row,) = run_benchmark("LR", "digits", "sym40", 1, verbose=0)
    assert (row["method"], row["data"], row["noise"]) == ("LR", "digits", "sym40")
    pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier())
    (row,) = run_benchmark(pipeline, noise=SymmetricNoise(0.2), seeds=1, verbose=0)
    assert (row["method"], row["noise"]) == ("Pipeline", "SymmetricNoise(rate=0.2)")
