"""Named sets of training options: what `--preset NAME` stands for, as one would type it.

`paper-*` are the protocols of arXiv 2604.00230: three seeds, measured every ten epochs, stopped at the first NC1 below
0.01. Where the paper read a condition at another threshold (0.05 for GELU, tanh, shallow networks and the MLP on
CIFAR-10), its runs are a beginning of these. A run that is below it under cross-entropy goes on to the squared error.

`study-*` ask the same questions so that they can be answered: five seeds, two weight decays or batch sizes where fn*
is to be the same, every epoch measured, one budget for all. `digits-*` ask them of networks that collapse in seconds,
`subset-*` of 2,000 images of MNIST, 200 a class. With a thirtieth of the images there are as many fewer steps; batch,
width and rate are chosen so that the networks collapse nevertheless.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ncdiag.domain.words import nearest
from ncdiag.errors import SpecError

LIST = "list"  # stands for none of them: it lists them
Options = Mapping[str, str | bool | list[str]]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A preset: a sentence on what it is for, and the options it stands for."""

    purpose: str
    options: Options


_QUICK: Options = {
    "arch": "mlp",
    "depth": "5",
    "width": "128",
    "dataset": "digits",
    "phases": ["ce:10", "mse:110"],
    "lr": "8e-3",
    "weight_decay": "1.5e-4",
    "batch_size": "32",
}
# The published factors, at the switch of the loss. Runs of one seed share every bit up to there: weights and the order
# of the images depend on seed and epoch alone. Training them from the start is the same as branching them.
_BRANCHES: Options = {"seed": "0:5", "scale_features": "none,0.3@10,3@10"}

_PAPER: Options = {"dataset": "mnist", "eval_every": "10", "stop_at_onset": True, "patience": "1", "seed": "0:3"}
_STUDY: Options = {"dataset": "mnist", "phases": ["ce:200", "mse:400"], "seed": "0:5"}
_TWO_DECAYS: Options = {"weight_decay": "5e-5,1e-4"}
_DIGITS: Options = {**_QUICK, "phases": ["ce:20", "mse:230"], "seed": "0:10"}
_IMAGES: Options = {"dataset": "mnist", "train_size": "2000", "test_samples": "1000", "batch_size": "32"}
_SUBSET: Options = {
    **_IMAGES,
    "width": "256",
    "lr": "2e-3",
    "weight_decay": "1.5e-4",
    "phases": ["ce:15", "mse:135"],
    "seed": "0:5",
}

PRESETS = {
    "quickstart": Preset(
        purpose="collapse in a minute: 3 weight decays x 3 seeds of an MLP on digits",
        options={**_QUICK, "weight_decay": "1e-4,1.5e-4,2e-4", "seed": "0:3"},
    ),
    "intervention": Preset(
        purpose="do rescaled features come back? x 0.3, x 1 and x 3 from one checkpoint for each of 5 seeds, on digits",
        options={**_QUICK, **_BRANCHES},
    ),
    "intervention-compensated": Preset(
        purpose="the same with the head divided by the factor, so that the logits stay as they are",
        options={**_QUICK, **_BRANCHES, "compensate_head": True},
    ),
    "paper-depth": Preset(purpose="the published depths of the MLP on MNIST", options={**_PAPER, "depth": "2,3,5,7"}),
    "paper-width": Preset(purpose="the published widths", options={**_PAPER, "width": "128,256,512,1024"}),
    "paper-weight-decay": Preset(
        purpose="the published weight decays, over 800 epochs",
        options={**_PAPER, "weight_decay": "1e-5,5e-5,1e-4,5e-4", "phases": ["ce:200", "mse:600"]},
    ),
    "paper-activation": Preset(purpose="the published activations", options={**_PAPER, "activation": "relu,tanh,gelu"}),
    "paper-grid": Preset(
        purpose="the published grid; ResNet-20 on MNIST goes on to the squared error, which the paper did not",
        options={**_PAPER, "arch": "mlp,resnet20", "dataset": "mnist,fashion_mnist,cifar10"},
    ),
    "paper-intervention": Preset(
        purpose="the published intervention: the last hidden layer x 0.3, x 1 and x 3 at the switch of the loss",
        options={**_PAPER, "scale_features": "none,0.3@200,3@200"},
    ),
    "study-depth": Preset(
        purpose="depth at one threshold, on MNIST", options={**_STUDY, **_TWO_DECAYS, "depth": "2,3,5,7,9"}
    ),
    "study-width": Preset(purpose="width, on MNIST", options={**_STUDY, **_TWO_DECAYS, "width": "128,256,512,1024"}),
    "study-weight-decay": Preset(
        purpose="weight decay with its censored end, on MNIST",
        options={**_STUDY, "weight_decay": "0,1e-5,3e-5,1e-4,3e-4,1e-3"},
    ),
    "study-activation": Preset(
        purpose="five activations, on MNIST",
        options={**_STUDY, **_TWO_DECAYS, "activation": "relu,leaky_relu,gelu,silu,tanh"},
    ),
    "study-grid": Preset(
        purpose="MLP and ResNet-20 on MNIST and CIFAR-10, onset under the squared error, two batch sizes",
        options={
            "arch": "mlp,resnet20",
            "dataset": "mnist,cifar10",
            "phases": ["ce:200", "mse:600"],
            "batch_size": "128,512",
            "seed": "0:5",
        },
    ),
    "study-cell": Preset(
        purpose="the cell that decides the grid: ResNet-20 on MNIST, onset under the squared error",
        options={"arch": "resnet20", "dataset": "mnist", "seed": "0:5"},
    ),
    "study-intervention": Preset(
        purpose="the intervention for ReLU and for GELU, to the end of the budget",
        options={**_STUDY, "activation": "relu,gelu", "scale_features": "none,0.3@200,3@200"},
    ),
    "digits-depth": Preset(
        purpose="depth of an MLP on digits, 10 seeds",
        options={**_DIGITS, "weight_decay": "1e-4,2e-4", "depth": "2,3,5,7,9"},
    ),
    "digits-width": Preset(
        purpose="width of an MLP on digits, 10 seeds", options={**_DIGITS, "width": "32,64,128,256"}
    ),
    "digits-weight-decay": Preset(
        purpose="weight decay of an MLP on digits, with its censored end, 10 seeds",
        options={**_DIGITS, "weight_decay": "0,1e-5,3e-5,1e-4,1.5e-4,3e-4,1e-3"},
    ),
    "digits-activation": Preset(
        purpose="five activations of an MLP on digits, 10 seeds",
        options={**_DIGITS, "activation": "relu,leaky_relu,gelu,silu,tanh"},
    ),
    "digits-intervention": Preset(
        purpose="the intervention on digits for ReLU and for GELU, at a constant rate, 10 seeds",
        options={
            **_DIGITS,
            "activation": "relu,gelu",
            "schedule": "constant",
            "lr": "1e-3",
            "scale_features": "none,0.3@20,3@20",
        },
    ),
    "digits-grid": Preset(
        purpose="MLP and CNN on digits and on as many images of MNIST, two weight decays, 10 seeds, to the onset",
        options={
            "arch": "mlp,cnn",
            "dataset": "digits,mnist",
            "train_size": "1390",
            "test_samples": "340",
            "width": "128",
            "lr": "4e-3",
            "weight_decay": "1.5e-4,3e-4",
            "batch_size": "32",
            "phases": ["ce:20", "mse:230"],
            "stop_at_onset": True,
            "seed": "0:10",
        },
    ),
    "subset-cell": Preset(
        purpose="ResNet-20 on 2,000 images, onset under the squared error, at a rate without drops",
        options={
            **_IMAGES,
            "arch": "resnet20",
            "schedule": "cosine",
            "phases": ["ce:10", "mse:75"],
            "stop_at_onset": True,
            "eps": "0.005",
            "seed": "0:3",
        },
    ),
    "subset-depth": Preset(
        purpose="depth of an MLP on 2,000 images of MNIST, 5 seeds",
        options={**_SUBSET, "weight_decay": "1.5e-4,5e-4", "depth": "2,3,5,7"},
    ),
    "subset-width": Preset(
        purpose="width of an MLP on 2,000 images of MNIST, 5 seeds",
        options={**_SUBSET, "width": "64,128,256,512"},
    ),
    "subset-weight-decay": Preset(
        purpose="weight decay of an MLP on 2,000 images of MNIST, with its censored end, 5 seeds",
        options={**_SUBSET, "weight_decay": "0,1.5e-5,5e-5,1.5e-4,5e-4,1.5e-3,5e-3"},
    ),
    "subset-activation": Preset(
        purpose="five activations of an MLP on 2,000 images of MNIST, 5 seeds",
        options={**_SUBSET, "activation": "relu,leaky_relu,gelu,silu,tanh"},
    ),
    "subset-intervention": Preset(
        purpose="the intervention on 2,000 images of MNIST for ReLU and for GELU, 5 seeds",
        options={**_SUBSET, "activation": "relu,gelu", "scale_features": "none,0.3@15,3@15"},
    ),
}


def find_preset(name: str) -> Preset:
    """Give the preset of a name. Raises `SpecError` that lists them for an unknown one."""
    if name not in PRESETS:
        raise SpecError(f"preset {name!r} is not known{nearest(name, PRESETS)}; `--preset list` lists what there is")
    return PRESETS[name]
