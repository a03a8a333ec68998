"""Sphinx: ``sphinx-build -W -n -b html docs docs/_build/html``. Nothing is downloaded, neither here nor by a reader."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the gallery's networks are small: threads only get in each other's way

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from docutils.nodes import SkipNode, literal_block
from docutils.utils.math.latex2mathml import tex2mathml
from make_tables import render
from other_tables import ROBUSTNESS
from pivot import RESULTS
from sphinx.util.docutils import SphinxDirective

import robustlabels

project = "robustlabels"
author = "the robustlabels developers"
version = release = robustlabels.__version__
html_title = f"robustlabels {version}"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["_build", "benchmarks", "examples", "images"]
default_role = "literal"  # single backticks in docstrings are names

# --- API pages --------------------------------------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say it in words
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
autodoc_default_options = {
    "members": True,
    "inherited-members": "Module, NeuralNetClassifier, Dataset, tuple",  # our own are shown, theirs are not
}
numpydoc_show_class_members = False  # autodoc shows them, with their text

# --- references: our own must resolve, others are left as text --------------------------------------------------------

nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(nn|np|numpy|torch|sklearn|skorch|scipy|pandas|cleanlab|imblearn)\..*")]

# --- gallery ----------------------------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
}

# --- looks ------------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"**": []}  # the header has it all, and tables need the room
html_theme_options = {
    "header_links_before_dropdown": 7,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": [],
    "footer_end": [],
    "footer_center": [],
}
html_math_renderer = "mathml"


# --- what Sphinx lacks ------------------------------------------------------------------------------------------------


def visit_inline_math(self, node):
    """MathML, which browsers draw themselves: no script from elsewhere."""
    self.body.append(tex2mathml(node.astext()))
    raise SkipNode


def visit_display_math(self, node):
    self.body.append(f'<div class="equation">{tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise SkipNode


class Measured(SphinxDirective):
    """Show a table of stored results: ``.. measured:: ratios``, with the names of make_tables.py."""

    required_arguments = 1

    def run(self):
        # Any table may read any file, so a change of one rebuilds every page with a table.
        for path in (*RESULTS.glob("*.jsonl"), ROBUSTNESS):
            self.env.note_dependency(str(path))
        text = render(self.arguments[0])
        return self.parse_text_to_nodes(text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"))


class Changes(SphinxDirective):
    """CHANGES.md as it is."""

    def run(self):
        path = HERE.parent / "CHANGES.md"
        self.env.note_dependency(str(path))
        text = path.read_text(encoding="utf-8") if path.exists() else "Nothing is released yet."
        return [literal_block(text, text, language="markdown")]


def skip_member(app, what, name, obj, skip, options):
    """Leave out what others wrote for their own pages, aliases of classes, and fields of named tuples."""
    function = getattr(obj, "fget", obj)
    foreign = not (getattr(function, "__module__", None) or "robustlabels").startswith("robustlabels")
    field = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    return True if foreign or field or (what == "class" and isinstance(obj, type)) else None


def setup(app):
    app.add_html_math_renderer("mathml", (visit_inline_math, None), (visit_display_math, None))
    app.add_directive("measured", Measured)
    app.add_directive("changes", Changes)
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
