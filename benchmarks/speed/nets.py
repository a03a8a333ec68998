"""The networks that ratios are named after: plain ones, so that a number can be repeated anywhere."""

from __future__ import annotations

from torch import Tensor, nn


class PlainMLP(nn.Sequential):
    """Linear, ReLU, linear: 784-256-10."""

    def __init__(self, n_features: int = 784, width: int = 256, n_classes: int = 10) -> None:
        super().__init__(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_classes))


class PlainCNN(nn.Module):
    """3x3 convolutions 32-64-64, each with batch norm, ReLU and max-pooling, and a linear head: "the small CNN".

    For images of 28x28x1: 62k weights, 34 MFLOP an image forward and backward.
    """

    def __init__(self, n_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out in [(1, 32), (32, 64), (64, 64)]:
            conv = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(c_out), nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(64 * 3 * 3, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of images (b, 1, 28, 28)."""
        return self.head(self.body(x).flatten(1))
