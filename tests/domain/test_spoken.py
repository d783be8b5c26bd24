import shlex

import pytest

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import PhaseSpec
from ncdiag.domain.spoken import spoken_options, sweep_command
from ncdiag.errors import SpecError

SPOKEN = [
    {"arch": "mlp", "dataset": "digits"},
    {"arch": "mlp", "dataset": "digits", "precision": "bf16"},
    {"arch": "resnet20", "dataset": "cifar10", "train_size": 2000, "batch_size": 64},
    {
        "arch": "cnn",
        "dataset": "mnist",
        "depth": 4,
        "width": 64.0,
        "activation": "tanh",
        "optimizer": "sgd",
        "lr": 0.01,
    },
    {"arch": "mlp", "dataset": "mnist", "weight_decay": 3e-4, "schedule": "constant", "eval_every": 5},
    {"arch": "mlp", "dataset": "mnist", "metric_samples": 6000, "test_samples": 1000},
    {
        "arch": "mlp",
        "dataset": "mnist",
        "schedule": "multistep",
        "phases": (PhaseSpec.parse("ce:20@10"), PhaseSpec.parse("mse:40")),
        "subset_seed": 3,
        "train_size": 100,
    },
    {"arch": "mlp", "dataset": "mine", "sha256": "0" * 64},
]


@pytest.mark.parametrize("given", SPOKEN)
def test_what_is_said_leads_back_to_the_run_and_says_no_default(given):
    spec = complete_spec(given)
    said = spoken_options(spec)
    assert complete_spec(said) == spec
    assert set(said) == set(given)


def test_a_command_has_what_varies_in_place_of_what_was_said():
    said = spoken_options(complete_spec({"arch": "mlp", "dataset": "mnist", "weight_decay": 3e-4, "width": 64}))
    command = sweep_command(said, {"weight_decay": "1e-05,1e-04", "seed": "0:5"})
    assert command == "ncdiag sweep --arch mlp --dataset mnist --width 64 --weight-decay 1e-05,1e-04 --seed 0:5"


def test_phases_are_repeated_and_paths_quoted():
    phases = (PhaseSpec.parse("ce:20"), PhaseSpec.parse("mse:40"))
    said = {"arch": "mlp", "dataset": "mine", "sha256": "0" * 64, "phases": phases}
    words = shlex.split(sweep_command(said, {"seed": "0:2"}, path="/data/my set"))
    assert words[2:] == [
        "--arch",
        "mlp",
        "--dataset",
        "/data/my set",
        "--phase",
        "ce:20",
        "--phase",
        "mse:40",
        *("--seed", "0:2"),
    ]


def test_what_cannot_be_trained_gives_no_command():
    with pytest.raises(SpecError, match="architecture"):
        sweep_command({"arch": "vit", "dataset": "mnist"}, {"seed": "0:2"})
