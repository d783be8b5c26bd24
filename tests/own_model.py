"""A network of somebody else's, and a loader for it, to be measured."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

DRAWN = torch.Generator().manual_seed(0)
X, Y = torch.randn(90, 1, 6, 6, generator=DRAWN), torch.arange(90) % 3


class Model(nn.Module):
    """A model of somebody's own: convolution, BatchNorm, dropout, and a head that is not its last attribute."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Dropout(0.5), nn.Flatten())
        self.classifier = nn.Linear(64, classes)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.body(x) * self.scale)


def make_model() -> Model:
    torch.manual_seed(1)
    return Model()


def loader(batch_size: int = 16, **given: Any) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(X, Y), batch_size=batch_size, **given)
