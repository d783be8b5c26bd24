import hashlib
import json
import math

import pytest

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import (
    DataSpec,
    Intervention,
    NetworkSpec,
    OptimizerSpec,
    PhaseSpec,
    RunSpec,
    StopRule,
    find_rescaling,
)
from ncdiag.errors import SpecError


def test_key_is_the_sha256_of_sorted_compact_json() -> None:
    spec = complete_spec({"dataset": "mnist"})
    # the layout is written out by hand: changing it would orphan every stored run
    canonical = {
        "batch_size": 256,
        "data": {"dataset": "mnist", "sha256": None, "subset_seed": 0, "train_size": None},
        "eval_every": 1,
        "intervention": None,
        "network": {"activation": "relu", "arch": "mlp", "depth": 5, "width": 512},
        "optimizer": {"lr": 0.001, "momentum": 0.0, "name": "adam", "schedule": "cosine", "weight_decay": 0.0001},
        "phases": [
            {"epochs": 200, "loss": "ce", "milestones": []},
            {"epochs": 400, "loss": "mse", "milestones": []},
        ],
        "seed": 0,
        "stop": None,
    }
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"))
    assert spec.key == hashlib.sha256(text.encode()).hexdigest()


def test_key_ignores_how_a_number_was_written() -> None:
    assert complete_spec({"width": 512.0, "lr": 1}).key == complete_spec({"width": 512, "lr": 1.0}).key


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"depth": 4},
        {"weight_decay": 2e-4},
        {"train_size": 100},
        {"eval_every": 2},
        {"eval_every": "log"},
        {"metric_samples": 1000},
        {"test_samples": 1000},
        {"precision": "bf16"},
        {"stop_at_onset": True},
    ],
)
def test_key_changes_with_everything_that_decides_the_numbers(change: dict[str, object]) -> None:
    assert complete_spec(change).key != complete_spec({}).key


def test_specification_survives_json() -> None:
    spec = complete_spec(
        {
            "phases": (PhaseSpec.parse("ce:20@5@9"), PhaseSpec.parse("mse:7")),
            "schedule": "multistep",
            "scale_features": Intervention.parse("0.3@20"),
            "compensate_head": True,
            "stop_at_onset": True,
            "eval_every": "log",
            "metric_samples": 500,
            "test_samples": 50,
            "precision": "tf32",
        }
    )
    assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"network": "resnet18"},
        {"network": {"arch": "mlp", "depth": 2, "width": 8, "activation": "relu", "heads": 4}},  # of a later version
        {"phases": [3]},
        {"phases": [{"loss": "ce"}]},
        {"optimizer": None},
        {"stop": {"epsilon": 0.1}},
    ],
)
def test_what_is_no_specification_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(SpecError, match=r"cannot be read: .*\n.* newer version"):
        RunSpec.from_dict({**complete_spec({}).to_dict(), **change})


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "3", '{"seed": 1}'])
def test_json_that_is_no_specification_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="this configuration of a run"):
        RunSpec.from_json(text)


def test_a_run_that_stops_at_onset_does_so_by_the_usual_rule() -> None:
    assert complete_spec({"stop_at_onset": True}).stop == StopRule(eps=0.01, patience=3)
    assert complete_spec({"stop_at_onset": True, "patience": 5}).stop == StopRule(patience=5)


def test_phase_of_counts_within_phases() -> None:
    spec = complete_spec({"phases": (PhaseSpec.parse("ce:2"), PhaseSpec.parse("mse:3"))})
    assert [spec.phase_of(epoch) for epoch in range(1, 6)] == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    with pytest.raises(IndexError):
        spec.phase_of(6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NetworkSpec(arch="mpl", depth=5, width=512), "did you mean mlp"),  # type: ignore[arg-type]
        (lambda: NetworkSpec(arch="mlp", depth=0, width=512), "depth"),
        (lambda: NetworkSpec(arch="mlp", depth=True, width=512), "depth must be a whole number"),
        (lambda: DataSpec(dataset="mnist", train_size=0), "train size"),
        (lambda: NetworkSpec(arch="mlp", depth=5, width=10**9), "width"),
        (lambda: NetworkSpec(arch="mlp", depth=5, width=0.5), "number of features"),
        (lambda: NetworkSpec(arch="mlp", depth=5, width=math.nan), "width"),
        (lambda: NetworkSpec(arch="resnet20", depth=21, width=1), "6n"),
        (lambda: NetworkSpec(arch="resnet20", depth=20, width=512), "multiplies"),
        (lambda: NetworkSpec(arch="mlp", depth=5, width=4, activation="rellu"), "did you mean relu"),  # type: ignore[arg-type]
        (lambda: DataSpec(dataset="mnst"), "did you mean mnist"),
        (lambda: PhaseSpec.parse("ce"), "LOSS:EPOCHS"),
        (lambda: PhaseSpec.parse("ce:-1"), "epochs of a phase"),
        (lambda: PhaseSpec.parse("mse:x"), "LOSS:EPOCHS"),
        (lambda: PhaseSpec.parse("ce:10@9@3"), "milestones"),
        (lambda: PhaseSpec.parse("ce:10@10"), "milestones"),
        (lambda: OptimizerSpec(name="adam", lr=math.nan, weight_decay=0), "learning rate"),
        (lambda: OptimizerSpec(name="adam", lr=-1, weight_decay=0), "learning rate"),
        (lambda: OptimizerSpec(name="adam", lr=1, weight_decay=math.inf), "weight decay"),
        (lambda: OptimizerSpec(name="adam", lr=1, weight_decay=0, momentum=0.9), "belongs to sgd"),
        (
            lambda: OptimizerSpec(name="adam", lr=1e-320, weight_decay=0),
            "learning rate must be at least 2.23e-308, not",
        ),
        (lambda: OptimizerSpec(name="adam", lr=1, weight_decay=1e-310), "weight decay must be at least 2.23e-308 or 0"),
        (lambda: OptimizerSpec(name="sgd", lr=1, weight_decay=0, momentum=1e-320), "momentum must be at least"),
        (lambda: Intervention.parse("1e-320@1"), "alpha must be at least"),
        (lambda: StopRule(eps=1e-320), "eps must be at least"),
        (lambda: StopRule(eps=0.0), "eps"),
        (lambda: Intervention.parse("0.3"), "ALPHA@EPOCH"),
        (lambda: Intervention.parse("-1@5"), "alpha"),
        (
            lambda: Intervention.parse("0.5"),
            "an intervention is ALPHA@EPOCH, such as 0.3@200 or 0.3@200[+]compensate-head, not '0.5'",
        ),
        (lambda: complete_spec({"scale_features": Intervention.parse("2@600")}), "after the last"),
        (lambda: complete_spec({"scale_features": Intervention.parse("2@0")}), "whole number from 1"),
        (lambda: complete_spec({"arch": "resnet20", "scale_features": Intervention.parse("2@5")}), "ResNet"),
        (
            lambda: complete_spec(
                {"activation": "gelu", "scale_features": Intervention.parse("2@5"), "compensate_head": True}
            ),
            "compensate-head",
        ),
        (lambda: complete_spec({"phases": (PhaseSpec.parse("ce:10@5"),)}), "multistep"),
        (lambda: complete_spec({"batch_size": 0}), "batch size"),
        (lambda: complete_spec({"seed": -1}), "seed"),
        (lambda: complete_spec({"eval_every": 0}), "--eval-every"),
        (lambda: complete_spec({"eval_every": "often"}), "--eval-every"),
        (lambda: complete_spec({"metric_samples": 0}), "--metric-samples"),
        (lambda: complete_spec({"test_samples": 0}), "--test-samples"),
        (lambda: complete_spec({"precision": "bf61"}), "did you mean bf16"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SpecError, match=message):
        make()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.3@200", Intervention(alpha=0.3, epoch=200)),
        ("3.0@10+compensate-head", Intervention(alpha=3, epoch=10, compensate_head=True)),
        ("1e-1@5", Intervention(alpha=0.1, epoch=5)),
        ("2@0", Intervention(alpha=2, epoch=0)),
        *((bad, None) for bad in (None, math.nan, "", "dropout", "0@5", "-1@5", "1e@5", "1e999@5", "0.3@", "0.3@5+x")),
    ],
)
def test_a_rescaling_is_read_as_it_is_written(text: object, expected: Intervention | None) -> None:
    assert find_rescaling(text) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # the published protocol (PAPER.md): optimiser, rate, decay, schedule, MSE epochs, momentum, batch
        ({"arch": "mlp", "dataset": "mnist"}, ("adam", 1e-3, 1e-4, "cosine", 400, 0.0, 256)),
        ({"arch": "resnet20", "dataset": "cifar10"}, ("sgd", 0.1, 1e-3, "multistep", 600, 0.9, 128)),
        ({"arch": "resnet20", "dataset": "mnist"}, ("sgd", 0.1, 1e-3, "multistep", 600, 0.9, 512)),
    ],
)
def test_defaults_are_the_published_protocol(given: dict[str, str], expected: tuple[object, ...]) -> None:
    spec = complete_spec(given)
    o = spec.optimizer
    found = (o.name, o.lr, o.weight_decay, o.schedule, spec.phases[1].epochs, o.momentum, spec.batch_size)
    assert found == expected
    assert [(p.loss) for p in spec.phases] == ["ce", "mse"]
    assert spec.phases[0].epochs == 200
