import numpy as np

from ncdiag.analysis.branches import list_branches
from ncdiag.analysis.onsets import onset_table
from ncdiag.domain.onset_rule import OnsetRule


def branches(frames, by=("arch", "dataset")):
    return list_branches(onset_table(*frames, OnsetRule()), by)


def test_runs_are_paired_by_seed_and_condition(make_frames, make_run):
    runs = {
        "c0": make_run(seed=0),
        "u1": make_run(seed=1, intervention="3.0@10"),
        "c1": make_run(seed=1),
        "d1": make_run(seed=1, intervention="0.3@10"),
        "u0": make_run(seed=0, intervention="3.0@10"),
        "other": make_run(seed=0, depth=3, intervention="0.3@10"),
    }
    (found,) = branches(make_frames(runs))
    assert found.alphas == (3.0, 0.3)
    assert found.group == {"arch": "mlp", "dataset": "mnist", "epoch": 10, "head": "kept", "up": 3.0, "down": 0.3}
    names = [*runs, None]
    units = {
        tuple(names[row] for row in (c, u, d)) for c, u, d in zip(found.control, found.up, found.down, strict=True)
    }
    assert units == {("c0", "u0", None), ("c1", "u1", "d1"), (None, None, "other")}
    assert len(np.unique(found.condition)) == 2


def test_heads_epochs_and_factors_are_sets_of_their_own(make_frames, make_run):
    texts = ("3.0@10", "0.3@10", "3.0@10+compensate-head", "2.0@10", "0.5@10", "3.0@20")
    runs = {text: make_run(seed=0, intervention=text) for text in texts} | {"control": make_run(seed=0)}
    found = [(b.epoch, b.group["head"], b.alphas) for b in branches(make_frames(runs))]
    assert found == [
        (10, "kept", (2.0, 0.5)),
        (10, "kept", (3.0, 0.3)),
        (10, "compensated", (3.0, None)),
        (20, "kept", (3.0, None)),
    ]


def test_a_factor_of_one_is_a_control(make_frames, make_run):
    runs = {"one": make_run(seed=0, intervention="1.0@10"), "up": make_run(seed=0, intervention="3.0@10")}
    (found,) = branches(make_frames(runs))
    assert (found.control.tolist(), found.up.tolist()) == ([0], [1])


def test_without_a_rescaling_there_are_no_branches(make_frames, make_run):
    assert branches(make_frames({"a": make_run(), "b": make_run(intervention="something else")})) == []
    assert branches(make_frames({})) == []
