"""Comparison of methods, the published one or your own: methods x data x noise x seeds, one row per run.

::

    robustlabels compare smoke                      # one data set, every method, a few minutes
    robustlabels compare core --results core.jsonl  # resumes where it was stopped
    robustlabels compare core --results core.jsonl --table

A seed fixes split, noise and network; on a set with fixed rows and labels it varies the network only. Every method
runs with the same settings everywhere: its defaults, except for the two named "views", which show what augmentation
alone brings. Some problems give all methods another network and number of epochs. Accuracy is measured on right labels
at the *last* epoch, because nobody without right labels can choose another one; the best epoch stands beside it for
reference. Results are lines of JSON, one per run, written as soon as the run is done. A stored run is not repeated.

To compare your own method, pass any scikit-learn classifier:

>>> from sklearn.neighbors import KNeighborsClassifier
>>> from robustlabels.comparison import run_comparison, summarize
>>> mine = KNeighborsClassifier(15)
>>> rows = run_comparison({"mine": mine}, data=["digits"], noise=["sym40"], seeds=2, verbose=0)
>>> print(summarize(rows).scores[0])
digits: 1257 training rows of 8 x 8 pixels, 10 classes; test accuracy at the last epoch
method  sym40 (40.0 % wrong)
mine    0.9... ± 0.0...
"""

from robustlabels.comparison.entries import ENTRIES, CleanlabClassifier, Entry
from robustlabels.comparison.measuring import detection, measure, out_of_fold
from robustlabels.comparison.problems import INJECTED, PROBLEMS, Problem, Split, make_split, relabeled
from robustlabels.comparison.processes import isolated, peak_mib
from robustlabels.comparison.runs import describe, run_comparison
from robustlabels.comparison.storage import (
    ELSEWHERE,
    Row,
    append_row,
    defaults,
    environment,
    find,
    make_row,
    measured,
    read_rows,
    settings,
)
from robustlabels.comparison.suites import CORE, SUITES, Suite
from robustlabels.comparison.tables import (
    MEASURES,
    Cells,
    Summary,
    Table,
    behind,
    common_seeds,
    costs,
    mean_sd,
    plot,
    summarize,
)

__all__ = [
    "CORE",
    "ELSEWHERE",
    "ENTRIES",
    "INJECTED",
    "MEASURES",
    "PROBLEMS",
    "SUITES",
    "Cells",
    "CleanlabClassifier",
    "Entry",
    "Problem",
    "Row",
    "Split",
    "Suite",
    "Summary",
    "Table",
    "append_row",
    "behind",
    "common_seeds",
    "costs",
    "defaults",
    "describe",
    "detection",
    "environment",
    "find",
    "isolated",
    "make_row",
    "make_split",
    "mean_sd",
    "measure",
    "measured",
    "out_of_fold",
    "peak_mib",
    "plot",
    "read_rows",
    "relabeled",
    "run_comparison",
    "settings",
    "summarize",
]
