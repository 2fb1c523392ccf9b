"""VGG-19's first convolutions and the perceptual distance, in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

_CONVOLUTIONS = {
    "conv1_1": 64,
    "conv1_2": 64,
    "conv2_1": 128,
    "conv2_2": 128,
    "conv3_1": 256,
    "conv3_2": 256,
    "conv3_3": 256,
    "conv3_4": 256,
}
_COMPARED = ("conv1_2", "conv2_2", "conv3_4")


class PerceptualDistance(nn.Module):
    """The distance 'pm' with 'relative' normalisation and weights of 1.

    The preprocessing is the identity and each layer's scale 1, as in
    `jax_scadn.losses.distances.Distance.init`.
    """

    def __init__(self):
        super().__init__()
        inputs = 3
        for name, outputs in _CONVOLUTIONS.items():
            setattr(self, name, nn.Conv2d(inputs, outputs, 3, padding=1))
            inputs = outputs

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = images.expand(-1, 3, -1, -1)
        features = []
        for name in _CONVOLUTIONS:
            if name in ("conv2_1", "conv3_1"):
                x = F.max_pool2d(x, 2)
            x = getattr(self, name)(x).relu()
            if name in _COMPARED:
                features.append(x)
        return features

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The distance at each pixel, (B, H, W)."""
        total = torch.zeros(len(a), 1, *a.shape[2:], device=a.device)
        for x, y in zip(self.features(a), self.features(b), strict=True):
            difference = (x - y).abs().mean(1, keepdim=True)
            distance = difference / ((x + y).mean(1, keepdim=True) / 2 + 1)
            size = total.shape[2:]
            total += F.interpolate(distance, size, mode="bilinear", align_corners=False)
        return total[:, 0]
