"""The image encoder of Diffusion Policy (Chi et al., 2023, section III.B): ResNet-18, spatial softmax."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImageEncoder(nn.Module):  # type: ignore[misc, unused-ignore]
    """ResNet-18 with GroupNorm, a spatial softmax instead of pooling, random initial weights.

    Args:
        height: of the images, pixels.
        width: of the images, pixels.
        crop: share of both that is seen.
        keypoints: points of interest.
    """

    grid: Tensor

    def __init__(self, *, height: int, width: int, crop: float, keypoints: int) -> None:
        """Make the layers."""
        super().__init__()
        from torchvision.models import resnet18

        whole = resnet18(weights=None, norm_layer=lambda channels: nn.GroupNorm(channels // 16, channels))
        self.backbone = nn.Sequential(*list(whole.children())[:-2])
        self._seen = (round(crop * height), round(crop * width))
        with torch.no_grad():
            rows, columns = self.backbone(torch.zeros(1, 3, *self._seen)).shape[-2:]
        self.points = nn.Conv2d(512, keypoints, 1)
        y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
        self.register_buffer("grid", torch.stack([x.flatten(), y.flatten()], dim=1), persistent=False)
        self.out = nn.Linear(2 * keypoints, 2 * keypoints)

    @property
    def size(self) -> int:
        """Numbers of an image's encoding."""
        return int(self.out.out_features)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: shape (N, 3, height, width), 0 to 255.

        Returns:
            Shape (N, size).
        """
        x = self.backbone(self._crop(images) / 127.5 - 1.0)
        attention = self.points(x).flatten(2).softmax(dim=-1)
        return torch.relu(self.out((attention @ self.grid).flatten(1)))

    def _crop(self, images: Tensor) -> Tensor:
        rows, columns = self._seen
        spare = (images.shape[-2] - rows, images.shape[-1] - columns)
        if self.training:
            top, left = (int(torch.randint(0, room + 1, ())) for room in spare)
        else:
            top, left = spare[0] // 2, spare[1] // 2
        return images[..., top : top + rows, left : left + columns]
