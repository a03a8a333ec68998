"""The report on a fitted estimator: suspicious rows, pictures, a page to share, and a review by a person."""

from robustlabels.report.label_report import LabelReport

__all__ = ["LabelReport"]
