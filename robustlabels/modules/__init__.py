"""Networks: the presets, functions that build and check a network, and functions that read its features.

Any ``nn.Module`` that returns one column per class can take the place of a preset.
"""

from robustlabels.modules.building import build, probe, with_distance_head
from robustlabels.modules.heads import DistanceHead, LogitsOf, TwoLogits
from robustlabels.modules.hints import closest
from robustlabels.modules.inside import (
    Call,
    evaluating,
    features_and_logits,
    find_feature_map,
    find_head,
    has_convolution,
    watching,
)
from robustlabels.modules.networks import (
    MLP,
    PRESETS,
    FastConvNet,
    PreActResNet18,
    ResNet18,
    ResNet34,
    SixConvNet,
    SmallConvNet,
    Standardize,
)
from robustlabels.modules.twin import Twin, members

__all__ = [
    "MLP",
    "PRESETS",
    "Call",
    "DistanceHead",
    "FastConvNet",
    "LogitsOf",
    "PreActResNet18",
    "ResNet18",
    "ResNet34",
    "SixConvNet",
    "SmallConvNet",
    "Standardize",
    "Twin",
    "TwoLogits",
    "build",
    "closest",
    "evaluating",
    "features_and_logits",
    "find_feature_map",
    "find_head",
    "has_convolution",
    "members",
    "probe",
    "watching",
    "with_distance_head",
]
