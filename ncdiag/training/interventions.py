"""Changes made to a trained network between two epochs, to see where its features go from there."""

import torch

from ncdiag.domain.spec import Intervention
from ncdiag.training.network import Network


@torch.no_grad()
def scale_features(network: Network, intervention: Intervention) -> None:
    """Multiply weight and bias of the last hidden layer by alpha, as the paper does; see `Intervention`.

    With ReLU or leaky ReLU this multiplies every feature by alpha; other activations bend, which the feature norm
    measured after the intervention shows.
    """
    layer = network.last_hidden
    layer.weight.mul_(intervention.alpha)
    layer.bias.mul_(intervention.alpha)
    if intervention.compensate_head:
        network.head.weight.div_(intervention.alpha)
