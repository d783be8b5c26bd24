import pytest

from ncdiag.analysis.cautions import list_cautions, list_disqualifiers, stopped_by_design
from ncdiag.analysis.onsets import onset_table
from ncdiag.domain.onset_rule import OnsetRule


def cautions(frames, rule=None):
    rule = rule or OnsetRule()
    return list_cautions(onset_table(*frames, rule), rule)


def test_runs_that_are_alike_need_no_caution(make_frames, make_run):
    assert cautions(make_frames({"a": make_run(20.0), "b": make_run(25.0)})) == ()


def test_losses_of_ones_own_are_told_apart_whatever_their_names(make_frames, make_run):
    runs = {"a": make_run(20.0, loss=["hinge:0.1"] * 200), "b": make_run(25.0, loss=["hinge:0.5"] * 200)}
    assert "under different losses (hinge:0.1: 1, hinge:0.5: 1)" in " ".join(cautions(make_frames(runs)))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"loss": ["ce"] * 200}, "under different losses (mse: 1, ce: 1): not one threshold; choose with --where"),
        ({"phase": [2] * 200}, "in different phases (1: 1, 2: 1): not one threshold; choose with --phase"),
        ({"intervention": "0.3@50"}, "the features of 1 of 2 collapsed runs were rescaled"),
        ({"origin": "imported"}, "different origins (trained: 1, imported: 1)"),
        ({"device": "cuda:0"}, "different kinds of device (cpu: 1, cuda: 1)"),
        ({"data_sha256": "b" * 64}, "contents differ"),
        ({"config": {"metric_samples": 600}}, "a part of the training set (all samples: 1, 600 samples: 1)"),
        ({"config": {"precision": "bf16"}}, "in lower precision (float32: 1, bf16: 1)"),
        ({"status": "running"}, "1 of 2 runs is not finished"),
    ],
)
def test_a_mixture_is_named(make_frames, make_run, other, says):
    runs = {"a": make_run(20.0, data_sha256="a" * 64), "b": make_run(25.0, **{"data_sha256": "a" * 64, **other})}
    found = cautions(make_frames(runs))
    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"epochs": 100}, "1 of 2 runs did not collapse"),
        ({"epochs": 117}, "1 of 2 runs ends below eps before 3 evaluations confirm that"),
        ({"rate": 0.1}, "1 of 2 runs had no onset that is known, being below eps when first evaluated"),
        ({"rate": 90.0, "status": "diverged"}, "1 of 2 runs diverged"),
        ({"rate": 90.0, "status": "dead"}, "dead features"),
    ],
)
def test_what_is_left_out_is_named(make_frames, make_run, other, says):
    found = cautions(make_frames({"a": make_run(20.0), "b": make_run(**{"rate": 25.0, **other})}))
    assert len(found) == 1
    assert says in found[0]


@pytest.mark.parametrize("eps", [0.01, 0.005])
def test_the_eps_of_the_stop_rule_is_no_caution_where_it_is_the_same_or_the_onset_came(make_frames, make_run, eps):
    assert cautions(make_frames({"a": make_run(config={"stop": {"eps": eps}}), "b": make_run(21.0)})) == ()


def test_a_run_that_was_told_to_stop_before_this_onset_is_named(make_frames, make_run):
    stopped = make_run(90.0, epochs=100, config={"stop": {"eps": 0.05}}, epochs_planned=200)
    found = cautions(make_frames({"a": make_run(20.0), "b": stopped}))
    assert found[0].startswith("1 run stopped by another rule (eps 0.05: 1) before an onset at this eps")
    ended = {**stopped, "epochs_planned": 100}  # its budget was used up, and the other eps never reached
    assert not any("another rule" in said for said in cautions(make_frames({"a": make_run(20.0), "b": ended})))


@pytest.mark.parametrize(
    "end",
    [
        {"status": "diverged"},
        {"status": "dead"},
        {"config": {"stop": {"eps": 0.06}}, "epochs_planned": 200},
        {"origin": "imported", "epochs_planned": 200},  # ends at 0.0117
    ],
)
def test_how_a_run_ended_says_nothing_of_a_phase_after_which_it_went_on(make_frames, make_run, end):
    run = make_run(22.5, epochs=100, **end) | {"phase": [1] * 60 + [2] * 40}
    for phase, told in ((1, False), (2, True), (None, True)):
        rule = OnsetRule(phase=phase)
        table = onset_table(*make_frames({"a": run}), rule)
        assert (table["state"][0] != "censored" or stopped_by_design(table, rule)[0]) == told
        assert table["censored_at"][0] == (60 if phase == 1 else 100)


def test_small_nc1_without_learning_is_named(make_frames, make_run):
    run = make_run(20.0)
    run["train_accuracy"] = [0.1] * 150 + [0.9] * 50
    assert any("nothing was learned" in text for text in cautions(make_frames({"a": run})))


def test_an_onset_before_the_terminal_phase_is_named_and_forbids_a_verdict(make_frames, make_run):
    early, late, unknown = make_run(20.0), make_run(21.0), make_run(22.0)
    early["train_accuracy"] = [0.6] * 150 + [1.0] * 50  # the onset is at 93: exp(-t / 20) = 0.01
    late["train_accuracy"] = [0.6] * 50 + [1.0] * 150
    unknown["train_accuracy"] = [None] * 200
    frames = make_frames({"a": early, "b": late, "c": unknown})
    assert [text.split(":")[0] for text in cautions(frames)] == [
        "1 of 3 collapsed runs had a train accuracy below 99% at onset (the lowest 60.0%)"
    ]
    assert list_disqualifiers(onset_table(*frames, OnsetRule())) == []
    (why,) = list_disqualifiers(onset_table(*make_frames({"a": early, "b": late}), OnsetRule()))
    assert why == "1 of 2 onsets came with a train accuracy below 99%, before the terminal phase of training"


def test_a_noisy_metric_is_named_and_not_for_the_published_rule(make_frames, make_run):
    run = make_run(60.0, epochs=600)
    run["nc1"] = [value * (1.5 if i % 2 else 1 / 1.5) for i, value in enumerate(run["nc1"])]
    frames, straight = make_frames({"a": run}), make_run(60.0, epochs=600)
    straight["nc1"] = [value * (1.05 if i % 2 else 1 / 1.05) for i, value in enumerate(straight["nc1"])]
    assert cautions(make_frames({"a": straight})) == ()  # a twentieth is 3 epochs of a fall by a sixtieth
    assert any("noise of nc1 moves the onset" in text for text in cautions(frames))
    assert cautions(frames, OnsetRule(rule="first")) == ()


def test_a_relapse_and_a_possible_stop_are_named(make_frames, make_run):
    back = make_run(20.0)
    back["nc1"] = [*back["nc1"][:150], *[0.05] * 50]
    stopped = make_run(25.0, epochs=110, origin="imported")  # exp(-110 / 25) = 0.0123
    found = cautions(make_frames({"a": back, "b": make_run(21.0), "c": stopped}))
    assert "1 of 2 collapsed runs was no longer below eps at the end" in found
    assert any(said.startswith("the last nc1 of 1 of 3 runs is the smallest, and less than 1.25 eps") for said in found)


def test_a_condition_that_may_be_counted_twice_forbids_a_verdict(make_frames, make_run):
    runs = {"a": make_run(20.0, lr=1e-3, batch_size=32), "b": make_run(21.0, lr=1e-3, batch_size=None)}
    table = onset_table(*make_frames(runs), OnsetRule())
    assert "1 condition may be the same as one" in list_disqualifiers(table)[0]
    (caution,) = list_cautions(table, OnsetRule())
    assert (
        "1 condition may be the same as one whose runs say more, and is counted beside it: not said is batch_size."
        in caution
    )
    alike = {name: {**run, "batch_size": 32} for name, run in runs.items()}
    assert list_disqualifiers(onset_table(*make_frames(alike), OnsetRule())) == []


@pytest.mark.parametrize(
    ("others", "decays", "named"),
    [
        (("id=a", "id=b", "id=c"), (1e-4, 1e-4, 1e-3), True),
        (("smoothing=0", "smoothing=0", "smoothing=0.1"), (1e-4, 1e-4, 1e-4), False),
        (("id=a", "id=b", "id=c"), (1e-4, 2e-4, 3e-4), False),  # of which each is a condition anyway
    ],
)
def test_words_that_tell_every_run_from_every_other_are_named(make_frames, make_run, others, decays, named):
    runs = {
        str(number): make_run(20.0 + number, other=other, weight_decay=decay)
        for number, (other, decay) in enumerate(zip(others, decays, strict=True))
    }
    said = "every run has other settings of its own (such as id=a), so there are 3 conditions and not 2"
    assert any(text.startswith(said) for text in cautions(make_frames(runs))) == named
