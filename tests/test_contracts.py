"""The architecture's contracts are closed, and the guide to adding a method passes them at the first try."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "development" / "adding_a_method.rst"


def captioned_blocks():
    """Path and code of each Python block of the guide that has a file for its caption, in order."""
    pattern = r"^\.\. code-block:: python\n {3}:caption: (\S+)\n\n((?:(?: {3}.*)?\n)+)"
    text = GUIDE.read_text(encoding="utf-8")
    return [(block[1], textwrap.dedent(block[2]).strip("\n")) for block in re.finditer(pattern, text, re.MULTILINE)]


def run(folder, *arguments):
    """Run Python on a copy of the package; return the exit status and what was printed."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def lint_imports(folder):
    """Run import-linter on a copy of the package."""
    return run(folder, "-c", "from importlinter.cli import lint_imports_command as command; command()", "--no-cache")


@pytest.fixture
def checkout(tmp_path):
    """A copy of what ``make lint types test`` reads."""
    pytest.importorskip("importlinter")
    for name in ("robustlabels", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "line", "contract"),
    [
        ("methods/foo.py", "from robustlabels.methods.elr import refined", "Methods are independent of each other"),
        ("methods/foo.py", "from skorch import NeuralNet", "skorch lives in training/net.py"),
        ("methods/foo.py", "from robustlabels.detection import KNNNoiseDetector", "Imports go down the rooms"),
        ("foo.py", "", "Imports go down the rooms"),
        ("training/foo.py", "", "From the user's data down to tensors"),
        ("detection/foo.py", "", "A file for each detector"),
        ("report/foo.py", "", "The report goes down its files"),
        ("comparison/foo.py", "", "The comparison goes down its files"),
        ("commands/foo.py", "", "Commands go down"),
        ("modules/foo.py", "", "Networks are built from their parts"),
    ],
)
def test_a_file_that_breaks_a_contract_or_is_not_listed_fails(checkout, path, line, contract):
    (checkout / "robustlabels" / path).write_text(f'"""New."""\n\n{line}\n', encoding="utf-8")
    status, printed = lint_imports(checkout)
    assert status == 1
    assert contract in printed.partition("Broken contracts")[2], printed


def test_the_package_keeps_its_contracts(checkout):
    status, printed = lint_imports(checkout)
    assert status == 0, printed


def test_the_guide_to_adding_a_method_passes_at_the_first_try(checkout):
    """Write the guide's blocks to the files that their captions name; then lint, type check and test them."""
    pytest.importorskip("mypy")
    module = checkout / "robustlabels" / "methods" / "bootstrap.py"
    registry = checkout / "robustlabels" / "methods" / "__init__.py"
    tests = checkout / "tests" / "test_bootstrap.py"
    blocks = captioned_blocks()
    assert {path for path, _ in blocks} == {str(path.relative_to(checkout)) for path in (module, registry, tests)}
    for path, code in blocks:
        if path == "robustlabels/methods/__init__.py":
            added, name, entry = code.splitlines()
            text = registry.read_text(encoding="utf-8")
            text = text.replace(
                "from robustlabels.methods.dividemix", f"{added}\nfrom robustlabels.methods.dividemix", 1
            )
            text = text.replace("__all__ = [\n", f"__all__ = [\n    {name.strip()}\n", 1)
            text = text.replace("    for method in (\n", f"    for method in (\n        {entry.strip()}\n", 1)
            registry.write_text(text, encoding="utf-8")
        else:
            with (checkout / path).open("a", encoding="utf-8") as file:
                file.write(("\n\n" if file.tell() else "") + code + "\n")

    for command in (("ruff", "check"), ("ruff", "format", "--check")):
        status, printed = run(checkout, "-m", *command, "robustlabels/methods", "tests/test_bootstrap.py")
        assert status == 0, printed
    status, printed = lint_imports(checkout)
    assert status == 0, printed
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", checkout / ".mypy_cache")  # of torch and others: a minute less
    status, printed = run(
        checkout, "-m", "mypy", "robustlabels/methods/bootstrap.py", "robustlabels/methods/__init__.py"
    )
    assert status == 0, printed
    tested = ("tests/test_bootstrap.py", "tests/test_common.py", "-k", "Bootstrap or bootstrap")
    status, printed = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tested)
    assert status == 0, printed
    assert int(re.search(r"(\d+) passed", printed)[1]) >= 15, printed  # 3 of its own and the common ones
