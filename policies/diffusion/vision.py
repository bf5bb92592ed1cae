"""The image encoder of Diffusion Policy (Chi et al., 2023, section III.B): ResNet-18, spatial softmax."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

# Channels for each group of the normalisation, as in the paper.
_GROUP = 16


class ImageEncoder(nn.Module):  # type: ignore[misc, unused-ignore]
    """ResNet-18 with GroupNorm, a spatial softmax instead of pooling, random initial weights.

    Narrower and with fewer stages it is one that a CPU can train: a stage less halves the stride, so that the
    spatial softmax finds places twice as finely.

    Args:
        height: of the images, pixels.
        width: of the images, pixels.
        crop: share of both that is seen.
        keypoints: points of interest.
        channels: of the first stage, a multiple of 16; every further stage has twice as many. 64: ResNet-18.
        stages: of the network, 1 to 4; each halves the image but the first. 4: ResNet-18.
    """

    grid: Tensor

    def __init__(
        self, *, height: int, width: int, crop: float, keypoints: int, channels: int = 64, stages: int = 4
    ) -> None:
        """Make the layers."""
        super().__init__()
        self.backbone = _backbone(channels, stages)
        self._seen = (round(crop * height), round(crop * width))
        with torch.no_grad():
            found, rows, columns = self.backbone(torch.zeros(1, 3, *self._seen)).shape[-3:]
        self.points = nn.Conv2d(found, keypoints, 1)
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
        if not self.training:
            top, left = spare[0] // 2, spare[1] // 2
            return images[..., top : top + rows, left : left + columns]
        # Every image from somewhere else.
        tops, lefts = (torch.randint(0, room + 1, (len(images), 1), device=images.device) for room in spare)
        down = tops + torch.arange(rows, device=images.device)
        right = lefts + torch.arange(columns, device=images.device)
        number = torch.arange(len(images), device=images.device)
        cut = images.permute(0, 2, 3, 1)[number[:, None, None], down[:, :, None], right[:, None, :]]
        return cut.permute(0, 3, 1, 2)


def _backbone(channels: int, stages: int) -> nn.Sequential:
    """ResNet-18 up to its pooling, as in `torchvision`, with any number of channels and stages."""
    from torchvision.models.resnet import BasicBlock

    widths = [channels * 2**stage for stage in range(stages)]
    layers: list[nn.Module] = [
        nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
        _normalisation(channels),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    for before, after in itertools.pairwise([channels, *widths]):
        stride = 1 if before == after else 2
        shortcut = None
        if stride == 2:
            shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), _normalisation(after)
            )
        layers.append(
            nn.Sequential(
                BasicBlock(before, after, stride, shortcut, norm_layer=_normalisation),
                BasicBlock(after, after, norm_layer=_normalisation),
            )
        )
    backbone = nn.Sequential(*layers)
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return backbone


def _normalisation(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // _GROUP, channels)
