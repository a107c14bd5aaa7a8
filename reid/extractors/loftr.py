"""LoFTR (Sun et al. 2021, arXiv 2104.00680), the half of it that looks at one photo: kornia's network, the authors' outdoor weights.

LoFTR detects nothing: its convolutions make a map of cells of 8 x 8 px, and attention over the cells of both photos, which is the matcher
of the same name, finds those that show the same. Here the map is made once a photo, and its cells are the keypoints. A cell lies at the
pixel on which its field of view is centred, and is kept where that pixel is on the mask: the others are not seen by the attention either.

A cell's score is the length of its vector, which the descriptor, a unit vector, does not have. LoFTR ranks no cells; of more than
`max_keypoints` the longest are kept. A photo of 640 x 480 px has 4800. Where a cell lies is told to the attention by the matcher, so that a
descriptor says what is seen there and nothing else, and can be matched by other matchers, too.

The fine stage, which moves matches by up to 4 px, is left out: it changes no confidence, and who an animal is does not hang on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import kornia.color
import kornia.feature
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import weights
from ..records import Features, Photo
from ..settings import ExtractSettings
from . import Extractor, as_batch, strongest

CELL = 8  # px from one cell to the next


def network() -> Any:
    """LoFTR with its weights."""
    found: Any = kornia.feature.LoFTR(pretrained=None)
    found.load_state_dict(weights.load("loftr")["state_dict"])
    return found.eval()


class LoftrExtractor(Extractor):
    """The cells of LoFTR's coarse map."""

    name = "loftr"

    def __init__(self, extract: ExtractSettings, device: str):
        self.device, self.max_keypoints = device, extract.max_keypoints
        self.backbone = network().backbone.to(device)

    @torch.inference_mode()
    def _together(self, photos: Sequence[Photo]) -> list[Features]:
        """Features with 256-dimensional descriptors, the cells with the longest vectors first."""
        maps = self._map(kornia.color.rgb_to_grayscale(as_batch(photos, self.device)))
        rows, columns = torch.meshgrid(*(CELL * torch.arange(n) for n in maps.shape[2:]), indexing="ij")
        keypoints = torch.stack((columns, rows), dim=2).view(-1, 2).numpy()
        cells = maps.flatten(2).transpose(1, 2)
        both = zip(photos, cells.norm(dim=2).cpu().numpy(), F.normalize(cells, dim=2).cpu().numpy())
        return [strongest(photo, self.name, self.max_keypoints, keypoints, *found) for photo, *found in both]

    def _map(self, grey: Tensor) -> Tensor:
        """(B, 256, h, w) of light (B, 1, H, W): what kornia's backbone makes first; its fine map, nearly half of the work, nobody reads."""
        net = self.backbone
        found: Tensor = net.layer3_outconv(net.layer3(net.layer2(net.layer1(net.relu(net.bn1(net.conv1(grey)))))))
        return found


def create(extract: ExtractSettings, device: str) -> LoftrExtractor:
    return LoftrExtractor(extract, device)
