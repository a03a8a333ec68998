"""The methods: a file for each paper. :data:`METHODS` is the one list that the command line and the comparison read."""

from robustlabels.methods.baselines import CoTeachingClassifier, CrossEntropyClassifier, GCEClassifier, SCEClassifier
from robustlabels.methods.dividemix import DivideMixClassifier
from robustlabels.methods.elr import ELRClassifier, ELRPlusClassifier
from robustlabels.methods.influential_rank import InfluentialRankClassifier
from robustlabels.methods.moit import MOITClassifier, MOITPlusClassifier
from robustlabels.methods.pemm import PEMMClassifier
from robustlabels.methods.registry import Method
from robustlabels.methods.sanm import SANMClassifier

__all__ = [
    "CoTeachingClassifier",
    "CrossEntropyClassifier",
    "DivideMixClassifier",
    "ELRClassifier",
    "ELRPlusClassifier",
    "GCEClassifier",
    "InfluentialRankClassifier",
    "MOITClassifier",
    "MOITPlusClassifier",
    "PEMMClassifier",
    "SANMClassifier",
    "SCEClassifier",
]

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("ELR", ELRClassifier, cost=1.1),
        Method("ELR+", ELRPlusClassifier, cost=2.1, large=3),
        Method("MOIT", MOITClassifier, cost=3.8, large=11, recipe=2),
        Method("MOIT+", MOITPlusClassifier, cost=3.8, large=11, recipe=2),
        Method("DivideMix", DivideMixClassifier, cost=3.9, large=9.5),
        Method("PEMM", PEMMClassifier, cost=1.7, large=1.9),
        Method("CE", CrossEntropyClassifier, cost=1),
        Method("GCE", GCEClassifier, cost=1),
        Method("SCE", SCEClassifier, cost=1.1),
        Method("Co-teaching", CoTeachingClassifier, cost=1.4, large=1.8),
    )
}
"""Every classifier that needs no other one, by name. The command line takes the names in lower case.

The two wrappers, :class:`~robustlabels.SANMClassifier` and :class:`~robustlabels.InfluentialRankClassifier`, are not
among them: they need a classifier to wrap.
"""
