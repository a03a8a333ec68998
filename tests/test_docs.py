"""The pages do what they say: their Python blocks run as they stand, in order, and what is generated is well-formed."""

import re
import sys
import textwrap
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

import robustlabels
from robustlabels.training import parameters

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    "index",
    "quickstart",
    "data",
    "noise",
    "detection",
    "coming_from_cleanlab",
    "coming_from_skorch",
    "coming_from_pyod",
    "which_method",
    "cleaning",
    "report",
    "benchmarks",
    "methods/elr",
    "methods/influential_rank",
    "methods/sanm",
    "methods/baselines",
    "methods/pemm",
    "development/adding_a_method",
]


PYTHON_BLOCK = (
    r"^\.\. code-block:: python\n(?: {3}:caption: robustlabels/methods/bootstrap.py\n)?\n((?:(?: {3}.*)?\n)+)"
)


def python_blocks(page):
    """Line number and code of each ``code-block:: python``, those for the file of a new method included."""
    text = (DOCS / f"{page}.rst").read_text(encoding="utf-8")
    for block in re.finditer(PYTHON_BLOCK, text, re.MULTILINE):
        yield text.count("\n", 0, block.start(1)) + 1, textwrap.dedent(block[1])


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """An empty folder to work in, but for twelve images of two classes."""
    pillow = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for label, level in ("cat", 60), ("dog", 190):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(6):
            pixels = rng.normal(level, 20, size=(36, 40, 3)).clip(0, 255).astype(np.uint8)
            pillow.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("photos", "reviews")
@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page, monkeypatch):
    monkeypatch.setattr(parameters, "MIN_EPOCHS", 3)  # enough to see that a block runs
    monkeypatch.setattr(parameters, "MIN_UPDATES", 3)
    module = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where pickle looks for the page's classes
    blocks = list(python_blocks(page))
    assert blocks
    for line, code in blocks:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)
            exec(compile("\n" * (line - 1) + code, DOCS / f"{page}.rst", "exec"), vars(module))


def test_every_public_name_has_an_api_page():
    pages = [DOCS / "api.rst", *(DOCS / "methods").glob("*.rst")]
    listed = {
        name for page in pages for name in re.findall(r"^ {3}(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    modules = {"augment", "datasets", "displays", "noise"}
    assert set(robustlabels.__all__) - modules <= listed
    for name in modules:
        public = getattr(robustlabels, name).__all__
        internal = {"check", "resolve"}  # of augment: what training/base.py calls
        assert set(public) - internal <= listed, name


def test_every_page_can_be_reached():
    index = (DOCS / "index.rst").read_text(encoding="utf-8")
    folders = {page.parent.name for page in DOCS.glob("*/index.rst")} - {"auto_examples"}
    assert folders == {"methods", "development"}
    pages = [path.stem for path in DOCS.glob("*.rst") if path.stem != "index"]
    for page in [*pages, *(f"{folder}/index" for folder in folders)]:
        assert f"\n   {page}\n" in index, page
    for folder in folders:
        text = (DOCS / folder / "index.rst").read_text(encoding="utf-8")
        if ":glob:" in text:
            continue  # a new method's page is found by itself
        for path in (DOCS / folder).glob("*.rst"):
            assert path.stem == "index" or f"\n   {path.stem}\n" in text, path
