"""The published comparison, and yours: methods x data x noise x seeds, one row of results a run.

::

    robustlabels compare smoke                      # one data set, every method, a few minutes
    robustlabels compare core --results core.jsonl  # goes on where it was stopped
    robustlabels compare core --results core.jsonl --table

A seed fixes split, noise and network; where a set has its own rows and labels it varies the network only. Every method
runs with one setting on every row: its default, but for the two named "views", which show what augmentation alone
brings. Where a problem says so, all of them share another network and number of epochs. Accuracy is on right labels at
the *last* epoch, since nobody without right labels can choose another; the best epoch stands beside it for reference.
Results are lines of JSON, one a run, written as soon as the run is done; a run that is there already is not repeated.

To compare a method of your own, pass any scikit-learn classifier:

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
from robustlabels.comparison.storage import ELSEWHERE, Row, append_row, defaults, environment, find, read_rows, settings
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
    "make_split",
    "mean_sd",
    "measure",
    "out_of_fold",
    "peak_mib",
    "plot",
    "read_rows",
    "relabeled",
    "run_comparison",
    "settings",
    "summarize",
]
