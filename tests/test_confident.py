"""Confident learning: cleanlab's numbers, and what cleanlab does not check."""

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.filter import find_label_issues as cleanlab_issues
from cleanlab.rank import get_label_quality_scores
from hypothesis import given
from hypothesis import strategies as st

from robustlabels.maths.confident_joint import (
    FILTERS,
    QUALITIES,
    check_probabilities,
    class_thresholds,
    confident_joint,
    find_label_issues,
    label_quality,
)


def problem(seed, n, n_classes, noise=0.3, strength=2.0, dtype=np.float64, missing=False):
    """Labels with flips, and probabilities that know something of both the true and the given class."""
    rng = np.random.default_rng(seed)
    true = rng.integers(n_classes - missing, size=n)
    true[:n_classes] = np.arange(n_classes) % (n_classes - missing)
    y = np.where(rng.random(n) < noise, rng.integers(n_classes - missing, size=n), true)
    z = rng.normal(size=(n, n_classes))
    z[np.arange(n), true] += strength
    z[np.arange(n), y] += 0.5
    p = np.exp(z)
    return y, (p / p.sum(1, keepdims=True)).astype(dtype)


problems = st.builds(
    problem,
    seed=st.integers(0, 10_000),
    n=st.integers(12, 400),
    n_classes=st.integers(2, 12),
    noise=st.floats(0, 0.6),
    strength=st.floats(0, 5),
    dtype=st.sampled_from([np.float64, np.float32]),
    missing=st.booleans(),
).filter(lambda found: len(np.unique(found[0])) > 1)


@given(problems)
def test_thresholds_and_joint_are_cleanlabs(found):
    y, p = found
    np.testing.assert_allclose(class_thresholds(y, p), get_confident_thresholds(y, p), atol=1e-6)
    for calibrated in (True, False):
        ours = confident_joint(y, p, calibrated=calibrated)
        np.testing.assert_array_equal(ours, compute_confident_joint(y, p, calibrate=calibrated))
    np.testing.assert_array_equal(confident_joint(y, p).sum(1), np.bincount(y, minlength=p.shape[1]))


@given(problems, st.sampled_from(QUALITIES))
def test_qualities_are_cleanlabs(found, method):
    y, p = found
    theirs = get_label_quality_scores(y, p, method=method)
    np.testing.assert_allclose(label_quality(y, p, method=method), theirs, atol=1e-6)
    if method != "confidence_weighted_entropy":
        theirs = get_label_quality_scores(y, p, method=method, adjust_pred_probs=True)
        np.testing.assert_allclose(label_quality(y, p, method=method, adjusted=True), theirs, atol=1e-6)


@pytest.mark.filterwarnings("ignore:May not flag all")
@given(problems, st.sampled_from(FILTERS))
def test_issues_are_cleanlabs(found, filter_by):
    y, p = found
    np.testing.assert_array_equal(
        find_label_issues(y, p, filter_by=filter_by), cleanlab_issues(y, p, filter_by=filter_by, n_jobs=1)
    )


@pytest.mark.filterwarnings("ignore:May not flag all")
@given(problems, st.sampled_from(FILTERS[:3]), st.floats(0.1, 1), st.integers(0, 20))
def test_pruning_parameters_are_cleanlabs(found, filter_by, frac_noise, least):
    y, p = found
    ours = find_label_issues(y, p, filter_by=filter_by, frac_noise=frac_noise, min_per_class=least)
    theirs = cleanlab_issues(y, p, filter_by=filter_by, frac_noise=frac_noise, min_examples_per_class=least, n_jobs=1)
    np.testing.assert_array_equal(ours, theirs)


def test_a_pair_may_want_more_rows_than_have_a_positive_margin():
    y, p = problem(0, 300, 4)
    joint = np.full((4, 4), 40)
    ours = find_label_issues(y, p, joint=joint)
    np.testing.assert_array_equal(ours, cleanlab_issues(y, p, confident_joint=joint, n_jobs=1))


def test_chunks_memory_maps_and_halves(tmp_path, monkeypatch):
    from robustlabels.maths import confident_joint as confident

    y, p = problem(0, 5000, 7, dtype=np.float32)
    whole = find_label_issues(y, p), label_quality(y, p, method="normalized_margin"), confident_joint(y, p)
    monkeypatch.setattr(confident, "CHUNK", 999)
    stored = np.memmap(tmp_path / "p.dat", dtype=np.float32, mode="w+", shape=p.shape)
    stored[:] = p
    parts = (
        find_label_issues(y, stored),
        label_quality(y, stored, method="normalized_margin"),
        confident_joint(y, stored),
    )
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
    half = p.astype(np.float16)
    np.testing.assert_array_equal(find_label_issues(y, half), find_label_issues(y, half.astype(np.float32)))


def test_nothing_is_flagged_where_all_agree():
    y = np.arange(30) % 3
    assert not find_label_issues(y, np.eye(3)[y] * 0.7 + 0.1).any()


def test_what_is_no_probability_is_an_error():
    y, p = problem(0, 20, 3)
    with pytest.raises(ValueError, match="row 4 sums to 2; normalize"):
        find_label_issues(y, np.where(np.arange(20)[:, None] == 4, 2 * p, p))
    with pytest.raises(ValueError, match=r"row 7 is \[nan"):
        label_quality(y, np.where(np.arange(20)[:, None] == 7, np.nan, p))
    with pytest.raises(ValueError, match="row 2 is"):
        confident_joint(y, np.where(np.arange(20)[:, None] == 2, [[-1.0, 1.0, 1.0]], p))
    with pytest.raises(ValueError, match="20 rows, but there are 19"):
        confident_joint(y[:19], p)
    with pytest.raises(ValueError, match="below the 2 columns"):
        confident_joint(y, p[:, :2] / p[:, :2].sum(1, keepdims=True))
    with pytest.raises(ValueError, match="class numbers"):
        confident_joint(y.astype(str), p)
    with pytest.raises(ValueError, match="2 classes or more"):
        check_probabilities(np.ones((4, 1)), 4)
    with pytest.raises(ValueError, match="filter_by"):
        find_label_issues(y, p, filter_by="best")
    with pytest.raises(ValueError, match="joint must have shape"):
        find_label_issues(y, p, joint=np.eye(2))
