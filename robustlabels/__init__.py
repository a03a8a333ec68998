"""Deep learning with noisy labels as scikit-learn estimators."""

__version__ = "0.1.0"
