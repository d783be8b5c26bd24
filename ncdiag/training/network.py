"""What every network is: features, then a linear head."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


def as_it_lies(tensor: Tensor) -> Tensor:
    """Give a matrix with its axes in the order in which they lie in memory, and other tensors as they are.

    The optimisers' kernels copy a matrix that lies otherwise than it is read, there and back.
    """
    return tensor.mT if tensor.dim() == 2 and tensor.stride(0) == 1 else tensor


class Network(nn.Module, ABC):
    """A classifier in two parts, because neural collapse is a statement about the boundary between them."""

    head: nn.Linear

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Give the features [B, d] of a batch [B, C, H, W]: what the head sees."""

    @property
    @abstractmethod
    def last_hidden(self) -> nn.Linear:
        """The layer whose activation the features are; `SpecError` where no single layer makes them."""

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the features [B, d] and the logits [B, K] of a batch [B, C, H, W]."""
        features = self.features(x)
        return features, self.head(features)

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits [B, K] of a batch [B, C, H, W]."""
        return self.outputs(x)[1]
