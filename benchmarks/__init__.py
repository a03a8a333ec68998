"""Measurements for developers: ``benchmarks.speed`` has ratios and curves, ``benchmarks.studies`` compares settings.

Every script appends rows of one shape to ``docs/benchmarks/results``; see :func:`robustlabels.comparison.make_row`.
"""
