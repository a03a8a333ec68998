"""The command line, end to end on small data; every error in one line, with a way out."""

import errno
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import robustlabels.commands.audit
from robustlabels.__main__ import main
from robustlabels.commands.audit import Data, default_method
from robustlabels.commands.demo import draw_suspects
from robustlabels.report.reported_rows import ReportedRows
from robustlabels.training.hooks import ProgressBar, ProgressLines

ROOT = Path(__file__).parents[1]
WRONG = np.arange(120) % 10 == 7
COLUMNS = ["given", "suggested", "noise_score", "confidence", "flagged", "verdict", "label"]


@pytest.fixture
def table():
    """Numbers, categories, dates and text with gaps; every 10th label is WRONG."""
    rng = np.random.default_rng(0)
    kind = np.arange(120) % 3
    frame = pd.DataFrame(
        {
            "weight": rng.normal(size=120) + 6 * kind,
            "town": np.array(["Lima", "Oslo", "Rome"])[kind],
            "born": pd.date_range("2020-02-01", periods=120).strftime("%Y-%m-%d"),
            "remark": [f"{('meow', 'woof', 'hoot')[k]} number {i}" for i, k in enumerate(kind)],
            "nothing": np.nan,
        }
    )
    frame.loc[::7, "weight"] = np.nan
    frame.loc[8, "weight"] = np.inf
    frame.loc[::11, "town"] = None
    frame.loc[3, "born"] = None
    frame["species"] = np.array(["cat", "dog", "owl"])[np.where(WRONG, kind + 1, kind) % 3]
    return frame


@pytest.fixture
def csv(table, tmp_path):
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture
def audit(tmp_path, capsys):
    """Run ``audit`` for a few epochs; status, result, standard output and standard error."""

    def run(data, *options, epochs=3):
        out = tmp_path / "suspects.csv"
        status = main(["audit", str(data), "--out", str(out), "--epochs", str(epochs), *map(str, options)])
        result = pd.read_csv(out, keep_default_na=False) if status == 0 else None
        return status, result, *capsys.readouterr()

    return run


def assert_ranked(result, key, names, given):
    """All rows once, each with its own label, by falling score."""
    assert list(result.columns) == (["row", *COLUMNS] if key == "row" else ["row", key, *COLUMNS])
    assert sorted(result[key]) == sorted(names)
    assert result[key].map(dict(zip(names, given, strict=True))).tolist() == result["given"].tolist()
    assert result["noise_score"].is_monotonic_decreasing
    assert ((result["given"] == result["suggested"]) | (result["flagged"] == 1)).all()
    assert result["confidence"].between(0, 1).all()


def assert_refused(status, result, out, err, *words):
    assert status == 2
    assert err.startswith("robustlabels: error: ")
    assert err.count("\n") == 1  # one line, no traceback, no bar: nothing was trained
    for word in words:
        assert word in err


# --- tables -----------------------------------------------------------------------------------------------------------


def test_table(audit, csv, table):
    status, result, out, err = audit(csv, "--labels", "species", epochs=30)
    assert status == 0
    assert_ranked(result, "row", range(120), table["species"])
    assert set(result["row"][:8]) <= set(np.flatnonzero(WRONG))
    assert "weight: number, 18 missing" in out
    assert "town: 3 categories, 11 missing -> 4 column(s)" in out
    assert "born: date, 1 missing -> year, month, day" in out
    assert out.startswith("data\n")
    assert "remark: text -> 6 numbers" in out
    assert "nothing: constant or empty, left out" in out
    assert "120 in 3 classes" in out
    assert re.search(r"estimated noise +\d+\.\d%", out)
    assert re.search(r" [34]  dog -> cat", out)
    assert re.search(r"30 epochs in [\d.]+ seconds", out)
    for word in ("30/30", "loss=", "noise=", "samples/s="):
        assert word in err


def test_table_is_read_alike_from_parquet_and_tsv(audit, csv, table, tmp_path):
    expected = audit(csv, "--labels", "species")[1]
    table.to_parquet(tmp_path / "table.parquet")
    table.to_csv(tmp_path / "table.tsv", sep="\t", index=False)
    for name in ("table.parquet", "table.tsv"):
        pd.testing.assert_frame_equal(audit(tmp_path / name, "--labels", "species")[1], expected)


def test_same_seed_same_result(audit, csv):
    first, second, other = (audit(csv, "--labels", "species", "--seed", seed)[1] for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(other)


def test_labels_stand_as_in_the_file(audit, csv, table):
    table["species"] = table["species"].map({"cat": "01", "dog": "NA", "owl": "1.0"})
    table.to_csv(csv, index=False)
    audit(csv, "--labels", "species")
    given = pd.read_csv(csv.parent / "suspects.csv", dtype=str, keep_default_na=False)["given"]
    assert set(given) == {"01", "NA", "1.0"}


def test_dropped_columns(audit, csv):
    _, _, out, _ = audit(csv, "--labels", "species", "--drop", "remark", "--drop", "born")
    assert "weight:" in out
    assert "remark:" not in out
    assert "born:" not in out


@pytest.mark.parametrize("method", [*robustlabels.commands.audit.METHODS, robustlabels.commands.audit.AUTO])
def test_methods(audit, csv, table, method):
    status, result, *_ = audit(csv, "--labels", "species", "--method", method, "--drop", "remark")
    assert status == 0
    assert_ranked(result, "row", range(120), table["species"])


def test_columns_beside(audit, csv, table):
    table["code"] = [f"{i:03d}" for i in range(120)]
    table["truth"] = table["species"]
    table.to_csv(csv, index=False)
    options = ["--labels", "species", "--id", "code", "--truth", "truth", "--text", "remark"]
    status, result, out, _ = audit(csv, *options)
    assert status == 0
    assert result["name"].tolist() == result["row"].tolist()  # read as a number here; in the file as it stood:
    assert f",{result['row'][0]:03d}," in (csv.parent / "suspects.csv").read_text().splitlines()[1]
    for name in ("code", "truth", "remark"):
        assert f"{name}:" not in out
    assert_refused(*audit(csv, "--labels", "species", "--id", "cod"), "no column 'cod'", "mean 'code'?")


def test_wrong_columns(audit, csv):
    assert_refused(*audit(csv), "--labels COLUMN", "'weight', 'town'")
    assert_refused(*audit(csv, "--labels", "spcies"), "no column 'spcies'", "mean 'species'?", "'weight', 'town'")
    assert_refused(*audit(csv, "--labels", "species", "--drop", "twn"), "no column 'twn'", "mean 'town'?")
    assert_refused(*audit(csv, "--labels", "town"), "11 row(s) have no label", "row 0")
    assert_refused(*audit(csv, "--labels", "remark"), "'remark' has 120 different values in 120 rows")


def test_nothing_to_learn_from(audit, csv, table):
    table[["nothing", "species"]].to_csv(csv, index=False)
    assert_refused(*audit(csv, "--labels", "species"), "'nothing'", "constant or empty")


def test_tables_extra_missing(audit, csv, monkeypatch):
    monkeypatch.setitem(sys.modules, "skrub", None)
    assert_refused(*audit(csv, "--labels", "species"), 'pip install "robustlabels[tables]"')


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_arrays(audit, blobs, tmp_path):
    X, y = blobs
    np.savez(tmp_path / "blobs.npz", X=X, y=y)
    np.savez(tmp_path / "named.npz", rows=X, kind=y)
    _, result, out, _ = audit(tmp_path / "blobs.npz")
    assert_ranked(result, "row", range(200), y)
    assert "200 in 3 classes" in out
    _, named, *_ = audit(tmp_path / "named.npz", "--features", "rows", "--labels", "kind")
    pd.testing.assert_frame_equal(named, result)


def test_arrays_missing_or_unfit(audit, blobs, tmp_path):
    X, y = blobs
    path = tmp_path / "blobs.npz"
    np.savez(path, data=X, y=y)
    assert_refused(*audit(path), "no array 'X'", "data float32 (200, 5)", "--features NAME")
    np.savez(path, X=X, y=y.astype(object))
    assert_refused(*audit(path), "y.astype(str)")
    np.savez(path, X=X, y=y[:-1])
    assert_refused(*audit(path), "[200, 199]")
    np.savez(path, X=X, y=np.eye(3)[np.arange(200) % 3])
    assert_refused(*audit(path), "one label a row", "(200, 3)")
    np.savez(path, X=X, y=np.full(200, "ant"))
    assert_refused(*audit(path), "2 classes")
    path.write_bytes(path.read_bytes()[:1000])
    assert_refused(*audit(path), "blobs.npz is not an .npz file")


def test_texts_names_and_truth(audit, blobs, tmp_path):
    X, y = blobs
    path, page = tmp_path / "blobs.npz", tmp_path / "report.html"
    texts, names = (np.array([f"{what} {i}" for i in range(200)]) for what in ("text", "name"))
    np.savez(path, X=X, y=np.where(np.arange(200) < 20, "bee", y), truth=y, text=texts, name=names)
    options = ["--text", "text", "--id", "name", "--truth", "truth", "--out", page]
    status, result, *_ = audit(path, *options)
    assert status == 0
    assert (result["name"] == "name " + result["row"].astype(str)).all()
    html = page.read_text(encoding="utf-8")
    first = result["row"][0]
    assert f"text {first}" in html
    assert f"· row\N{NO-BREAK SPACE}{first}</div>" in html
    assert f">name {first}</div>" in html
    assert "truly wrong" in html
    np.savez(path, X=X, y=y, text=texts[:-1])
    assert_refused(*audit(path, "--text", "text"), "text must hold one entry a row like y, (200,), got (199,)")
    assert_refused(*audit(path, "--truth", "gold"), "no array 'gold'", "text <U8 (199,)")
    assert_refused(*audit(path, "--drop", "X"), "an .npz file, which has no columns: leave --drop out")


def test_one_array_with_labels_in_another_file(audit, blobs, tmp_path):
    X, y = blobs
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    _, result, *_ = audit(tmp_path / "X.npy", "--labels", tmp_path / "y.npy")
    assert_ranked(result, "row", range(200), y)
    assert_refused(*audit(tmp_path / "X.npy"), "say which file holds the labels with --labels FILE.npy")
    assert_refused(*audit(tmp_path / "X.npy", "--labels", tmp_path / "no.npy"), "no.npy", "No such file")


# --- folders of images ------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Dark and bright images, 12 of each."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 20), ("bright", 200)):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(level, level + 50, size=(10, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


def test_folder(audit, folder):
    status, result, out, _ = audit(folder, "--image-size", 8)
    paths = [str(path) for path in folder.rglob("*.png")]
    assert status == 0
    assert_ranked(result, "path", paths, [Path(path).parent.name for path in paths])
    assert "24 in 2 classes" in out
    assert_refused(*audit(folder, "--labels", "kind"), "a folder of images, which has no columns: leave --labels out")


def test_folder_with_a_page(audit, folder, tmp_path):
    page = tmp_path / "report.html"
    assert audit(folder, "--image-size", 8, "--out", page, "--title", "My <images>")[0] == 0
    html = page.read_text(encoding="utf-8")
    assert "<title>My &lt;images&gt;</title>" in html
    assert html.count('alt="image of row') == 12
    assert str(folder / "dark") in html


@pytest.mark.parametrize("content", [b"no image at all", "half of one"])
def test_corrupt_image_is_named_and_skipped_when_asked(audit, folder, content):
    whole = (folder / "dark" / "0.png").read_bytes()
    corrupt = folder / "dark" / "corrupt.png"
    corrupt.write_bytes(content if isinstance(content, bytes) else whole[: len(whole) // 2])
    status, _, _, err = audit(folder, "--image-size", 8)
    assert status == 2
    assert str(corrupt) in err
    assert "--skip-corrupt" in err
    status, result, _, err = audit(folder, "--image-size", 8, "--skip-corrupt")
    assert status == 0
    assert len(result) == 24
    assert f"warning: Left out 1 file(s) that are corrupt: {corrupt}" in err


def test_folder_without_classes(audit, folder):
    assert_refused(*audit(folder / "dark"), "subfolder")


def test_images_extra_missing(audit, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert_refused(*audit(folder), 'pip install "robustlabels[images]"')


# --- the file that is written -----------------------------------------------------------------------------------------


def test_unwritable_output_is_told_before_training(audit, csv, tmp_path):
    for out, word in ((tmp_path / "no" / "such.csv", "there is no folder"), (tmp_path, "is not a file")):
        assert_refused(*audit(csv, "--labels", "species", "--out", out), str(out), word)


def test_folder_without_permission(audit, csv, tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert_refused(*audit(csv, "--labels", "species"), "suspects.csv cannot be written: Permission denied")


@pytest.mark.parametrize("before", [None, "an older result\n"])
def test_full_disk_leaves_no_half_file(audit, csv, tmp_path, monkeypatch, before):
    out = tmp_path / "suspects.csv"
    if before:
        out.write_text(before)
    files = set(tmp_path.iterdir())

    def records(self, rows):
        yield {"row": 0, "given": "cat", "suggested": "cat", "noise_score": 1.0, "confidence": 0.0, "flagged": False}
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ReportedRows, "records", records)
    status, _, _, err = audit(csv, "--labels", "species")
    assert status == 2
    assert err.endswith(f"error: {out} was not written: No space left on device.\n")
    assert set(tmp_path.iterdir()) == files
    assert not before or out.read_text() == before


def test_interrupted_fit_is_written_as_far_as_it_got(audit, csv, table, tmp_path, monkeypatch):
    epochs = []

    def on_epoch_end(self, net):
        epochs.append(net)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "on_epoch_end", on_epoch_end)
    status, _, out, err = audit(csv, "--labels", "species", "--method", "elr", epochs=10)
    assert status == 130
    assert "2 epochs in" in out
    assert "interrupted" in err
    assert_ranked(pd.read_csv(tmp_path / "suspects.csv"), "row", range(120), table["species"])


@pytest.mark.parametrize("name", ["report.html", "list.json", "tasks.label-studio.json"])
def test_results_by_their_names(audit, csv, tmp_path, name):
    status, result, out, _ = audit(csv, "--labels", "species", "--out", tmp_path / name)
    assert status == 0
    assert f"written          {tmp_path / 'suspects.csv'}\nwritten          {tmp_path / name}\n" in out
    text = (tmp_path / name).read_text(encoding="utf-8")
    if name.endswith(".html"):
        assert text.startswith("<!doctype html>")
        assert "Labels of table.csv" in text
    elif name == "list.json":
        assert [record["row"] for record in json.loads(text)] == result["row"].tolist()
    else:
        assert [task["data"]["row"] for task in json.loads(text)] == result["row"][: result["flagged"].sum()].tolist()
        assert "</Choices>" in out


def test_wrong_results_are_told_before_training(audit, csv, tmp_path, monkeypatch):
    out = tmp_path / "report.xlsx"
    assert_refused(*audit(csv, "--labels", "species", "--out", out), "results are .html, .htm, .csv, .json")
    out = tmp_path / "no" / "report.html"
    assert_refused(*audit(csv, "--labels", "species", "--out", out), "there is no folder")
    assert_refused(*audit(csv, "--labels", "species", "--checkpoint", tmp_path / "no" / "fit.ckpt"), "no folder")
    assert_refused(*audit(csv, "--labels", "species", "--fail-above", 40), "share in [0, 1], got 40")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    out = tmp_path / "report.html"
    assert_refused(*audit(csv, "--labels", "species", "--out", out), 'pip install "robustlabels[report]"')


def test_verdicts_are_trained_on(audit, csv, table, tmp_path):
    _, first, *_ = audit(csv, "--labels", "species", epochs=30)
    wrong, right, other = first["row"][0], first["row"][1], first["row"][2]
    verdicts = first.astype({"verdict": object, "label": object})
    verdicts.loc[0, "verdict"], verdicts.loc[1, "verdict"], verdicts.loc[2, "label"] = "drop", "reject", "owl"
    verdicts.to_csv(tmp_path / "verdicts.csv", index=False)
    options = ["--labels", "species", "--verdicts", tmp_path / "verdicts.csv"]
    status, second, out, _ = audit(csv, *options, epochs=30)
    assert status == 0
    assert f"3 rows reviewed: {int(first['given'][2] != 'owl')} labels changed, 1 rows dropped" in out
    assert sorted(second["row"]) == sorted(set(range(120)) - {wrong})
    given = second.set_index("row")["given"]
    assert given[right] == table["species"][right]
    assert given[other] == "owl"
    (tmp_path / "verdicts.csv").write_text("row,given,label\n0,fish,dog\n")
    assert_refused(
        *audit(csv, *options), "line 2: row 0 has the given label 'fish' in the review but 'cat' in the data"
    )
    assert_refused(*audit(csv, "--labels", "species", "--verdicts", tmp_path / "no.csv"), "No such file")


def test_verdicts_on_labels_that_earlier_verdicts_changed(audit, csv, table, tmp_path):
    """Two rounds: the second list has the labels that the first one left, and both are given."""
    row, kept = 1, 2
    assert table["species"][[row, kept]].tolist() == ["dog", "owl"]
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(f"row,given,verdict,label\n{row},dog,,owl\n{kept},owl,reject,\n")
    options = ["--labels", "species", "--verdicts", first, "--verdicts", second]
    for line, label in (
        (f"{row},owl,reject,", "owl"),  # right as the first list left it
        (f"{row},dog,reject,", "dog"),  # a second opinion on the first list: right as it was
        (f"{row},owl,,cat", "cat"),
        (f"{row},owl,,", "owl"),
    ):
        second.write_text(f"row,given,verdict,label\n{line}\n")
        status, result, _, err = audit(csv, *options)
        assert status == 0, err
        assert result.set_index("row")["given"][row] == label
        assert result.set_index("row")["given"][kept] == "owl"
    second.write_text(f"row,given,verdict,label\n{row},cat,reject,\n")
    assert_refused(*audit(csv, *options), f"row {row} has the given label 'cat' in the review but 'dog' in the data")


def test_what_is_read_is_not_written_over(audit, csv, tmp_path):
    list_ = tmp_path / "suspects.csv"  # where results go unless told otherwise
    list_.write_text("row,verdict\n0,drop\n")
    before = csv.read_bytes()
    options = ["--labels", "species", "--verdicts", list_]
    assert_refused(*audit(csv, *options), f"{list_} is read by this command and would be overwritten", "--out")
    assert_refused(*audit(csv, "--labels", "species", "--out", tmp_path / "." / "table.csv"), "would be overwritten")
    assert list_.read_text() == "row,verdict\n0,drop\n"
    assert csv.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "No columns"), (b"\xff\xfe\x00\x01", "codec"), (b'a,b\n1,2\n3,"', "EOF"), (b"a,species\n", "without rows")],
)
def test_tables_that_are_none(audit, tmp_path, content, said):
    path = tmp_path / "broken.csv"
    path.write_bytes(content)
    assert_refused(*audit(path, "--labels", "species"), str(path), said)
    if content and said != "without rows":
        (tmp_path / "broken.parquet").write_bytes(content)
        assert_refused(*audit(tmp_path / "broken.parquet", "--labels", "species"), "broken.parquet is not a table")


def test_a_killed_audit_goes_on_from_its_checkpoint(audit, csv, tmp_path, monkeypatch):
    whole = audit(csv, "--labels", "species", "--method", "elr", epochs=6)[1]
    checkpoint = tmp_path / "fit.ckpt"

    def interrupt(self, net):
        if len(net.history) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "on_epoch_begin", interrupt)
    status, _, _, err = audit(csv, "--labels", "species", "--checkpoint", checkpoint, epochs=6)
    assert status == 130
    assert err.endswith(f"error: interrupted; the same command goes on from {checkpoint}.\n")
    monkeypatch.undo()
    status, resumed, out, _ = audit(csv, "--labels", "species", "--checkpoint", checkpoint, epochs=6)
    assert status == 0
    assert "6 epochs in" in out
    pd.testing.assert_frame_equal(resumed, whole)
    options = ["--labels", "species", "--checkpoint", checkpoint]
    status, _, _, err = audit(csv, *options, "--seed", 1, epochs=6)
    assert status == 2
    assert re.search("belongs to another fit: .*parameter random_state differ; delete the file", err)
    assert_refused(*audit(csv, *options, "--method", "auto"), "--checkpoint goes with one network")


def test_what_can_be_stopped_is_trained_where_it_takes_long():
    table, images = (Data(X, np.arange(4) % 2) for X in (np.zeros((4, 3)), np.zeros((4, 8, 8))))
    assert default_method(table) == "auto"
    assert default_method(table, Path("fit.ckpt")) == default_method(images) == "elr"


@pytest.mark.parametrize(("asked", "threads"), [(None, 1), ("3", 3)])
def test_a_table_is_trained_on_one_thread_unless_told(audit, csv, monkeypatch, asked, threads):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    seen = []
    monkeypatch.setattr(ProgressBar, "on_epoch_end", lambda self, net: seen.append(torch.get_num_threads()))
    torch.set_num_threads(3)
    try:
        assert audit(csv, "--labels", "species")[0] == 0
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {threads}


def test_too_much_noise_is_a_status(audit, csv):
    assert audit(csv, "--labels", "species", "--fail-above", 0.5, epochs=20)[0] == 0
    status, _, out, err = audit(csv, "--labels", "species", "--fail-above", 0.01, epochs=20)
    assert status == 1
    assert "written" in out
    assert re.search(r"error: \d+\.\d% of the labels look wrong, more than 1\.0%\.\n$", err)


def test_a_log_gets_a_line_for_a_short_fit(audit, csv):
    err = audit(csv, "--labels", "species", "--method", "elr", epochs=30)[3]
    assert err.count("\n") == 1
    assert re.fullmatch(r"epoch 30/30: 0:\d\d elapsed, 0:00 left, loss=\S+, noise=\S+, samples/s=\S+\n", err)


def test_a_terminal_gets_a_bar(audit, csv, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    err = audit(csv, "--labels", "species", "--method", "elr", epochs=30)[3]
    assert err.count("\r") > 1
    assert "|██████████| 30/30 [" in err
    assert "samples/s=" in err


@pytest.mark.parametrize("epochs", [20, 18])
def test_a_log_gets_a_line_every_few_seconds(capsys, epochs):
    seconds = 0.0
    lines = ProgressLines(20, clock=lambda: seconds)
    for epoch in range(1, epochs + 1):
        seconds += 1.0
        lines.set_postfix({"loss": str(epoch)}, refresh=False)
        lines.update()
    seconds += 3600 - epochs
    lines.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    told = err.splitlines()
    assert [line.partition(":")[0] for line in told][:3] == ["epoch 5/20", "epoch 10/20", "epoch 15/20"]
    assert told[1] == "epoch 10/20: 0:10 elapsed, 0:10 left, loss=10"
    assert told[3].startswith(f"epoch {epochs}/20: ")
    assert len(told) == 4
    assert epochs == 20 or told[3] == "epoch 18/20: 1:00:00 elapsed, 6:40 left, loss=18"  # ended early, after an hour


def test_a_fit_that_ends_before_its_first_epoch_has_no_progress(capsys):
    ProgressLines(20).close()
    assert capsys.readouterr().err == ""


def test_interrupted_before_an_epoch_is_done(audit, csv, tmp_path, monkeypatch):
    def interrupt(self, net):
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressBar, "on_epoch_begin", interrupt)
    assert audit(csv, "--labels", "species")[0] == 130
    assert not (tmp_path / "suspects.csv").exists()


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_wrong_source(audit, tmp_path):
    assert_refused(*audit(tmp_path / "absent.csv"), "absent.csv does not exist")
    (tmp_path / "notes.txt").write_text("")
    assert_refused(*audit(tmp_path / "notes.txt"), "neither a table (.csv", ".npz", "folder of images")
    (tmp_path / "empty.csv").write_text("")
    assert_refused(*audit(tmp_path / "empty.csv", "--labels", "y"), "No columns")


def test_wrong_value_of_an_option(audit, csv):
    assert_refused(*audit(csv, "--labels", "species", epochs=0), "got 0")
    assert_refused(*audit(csv, "--labels", "species", "--device", "abacus"), "'abacus'")


def test_help(capsys):
    for command, words in (
        ([], ["audit", "demo"]),
        (
            ["audit"],
            [
                "--labels",
                "--skip-corrupt",
                "audit reviews.csv",
                "most suspicious first",
                "noise_score",
                "exit status: 0",
            ],
        ),
        (["demo"], ["40 %", "--out"]),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)
    with pytest.raises(SystemExit) as stop:
        main(["audit", "data.csv", "--method", "magic"])
    assert stop.value.code == 2
    assert "co-teaching" in capsys.readouterr().err


def test_demo(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "demo"), "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert "1,347 images of digits, 40.0% of their labels" in out
    for word in ("precision", "recall", "average precision", "logistic regression", "cross-entropy  ELR", "2 epochs"):
        assert word in out
    result = pd.read_csv(tmp_path / "demo" / "suspects.csv")
    with np.load(tmp_path / "demo" / "digits.npz") as stored:
        assert_ranked(result, "row", range(1347), stored["y"])
    with Image.open(tmp_path / "demo" / "suspects.png") as picture:
        assert picture.size == (1200, 792)


def test_fewer_suspects_than_places(tmp_path):
    draw_suspects(tmp_path / "few.png", np.zeros((2, 8, 8)), [1, 2], [3, 4], np.array([True, False]), 2)
    assert (tmp_path / "few.png").exists()


def test_the_example_of_the_readme_runs():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(example, names)
    assert names["clf"].noise_rate_ == pytest.approx(0.4, abs=0.02)
    assert len(example.splitlines()) <= 15
