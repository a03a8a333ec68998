"""All displays, as scikit-learn draws its own: ``SomeDisplay.from_estimator(fitted, X, y)``.

Every display keeps the numbers that it draws, a one-sentence ``summary`` that serves as its title, and a description
``alt`` for readers who cannot see it. The colors can be told apart by color-blind readers, and numbers, markers and
labels repeat everything that a color says. Matplotlib is imported when the first display is drawn.
"""

from robustlabels.report.class_displays import ClassNoiseDisplay, TransitionMatrixDisplay
from robustlabels.report.gallery import GalleryDisplay
from robustlabels.report.score_displays import DetectionCurveDisplay, ScoreHistogramDisplay
from robustlabels.report.training_displays import DatasetMapDisplay, LearningCurvesDisplay

__all__ = [
    "ClassNoiseDisplay",
    "DatasetMapDisplay",
    "DetectionCurveDisplay",
    "GalleryDisplay",
    "LearningCurvesDisplay",
    "ScoreHistogramDisplay",
    "TransitionMatrixDisplay",
]
