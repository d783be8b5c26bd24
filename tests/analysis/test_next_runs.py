import pytest

from ncdiag.analysis.next_runs import NextRuns
from ncdiag.analysis.onsets import onset_table
from ncdiag.domain.onset_rule import OnsetRule

PAIR = {"arch": "mlp", "dataset": "mnist"}


def suggest(make_frames, runs):
    return NextRuns(onset_table(*make_frames(runs), OnsetRule()), {})


def of(make_run, decays, seeds, **about):
    return {f"{d}-{s}": make_run(weight_decay=d, seed=s, **about) for d in decays for s in range(seeds)}


@pytest.mark.parametrize(
    ("decays", "seeds", "wanted", "varied"),
    [
        ([1e-4], 3, 3, "5e-05,0.0001,0.0002 --seed 0:5"),
        ([1e-4], 5, 3, "5e-05,0.0001,0.0002 --seed 0:10"),
        ([1e-4, 2e-4, 4e-4], 3, 3, "2.5e-05,5e-05,0.0001,0.0002,0.0004 --seed 0:5"),
        ([1e-4], 3, 5, "2.5e-05,5e-05,0.0001,0.0002,0.0004 --seed 0:5"),
        ([0.0], 3, 3, "1e-05,0.0001,0.001 --seed 0:5"),
    ],
)
def test_more_conditions_and_seeds_about_what_is_there(make_frames, make_run, decays, seeds, wanted, varied):
    command = suggest(make_frames, of(make_run, decays, seeds)).conditions(PAIR, wanted)
    assert command == f"ncdiag sweep --arch mlp --dataset mnist --weight-decay {varied}"


def test_the_condition_with_the_most_runs_is_the_pattern(make_frames, make_run):
    runs = {**of(make_run, [3e-4], 2, depth=7), **of(make_run, [1e-4], 1)}
    assert "--depth 7 " in suggest(make_frames, runs).conditions(PAIR)


def test_values_that_are_there_are_kept_and_the_usual_ones_added(make_frames, make_run):
    runs = {f"{w}-{s}": make_run(width=w, seed=s) for w in (100, 512) for s in range(2)}
    assert suggest(make_frames, runs).levels("width", {}).endswith("--width 25,50,100,200,512 --seed 0:5")
    many = {f"{d}-{s}": make_run(depth=d, seed=s) for d in (2, 3, 5, 9) for s in range(5)}
    assert suggest(make_frames, many).levels("depth", {}).endswith("--depth 2,3,5,9 --seed 0:10")
    more = {f"{d}-{s}": make_run(depth=d, seed=s) for d in (2, 3, 5, 9) for s in range(12)}
    assert suggest(make_frames, more).levels("depth", {}).endswith("--depth 2,3,5,9 --seed 0:24")


def test_the_depths_of_a_resnet_are_none_for_an_mlp(make_frames, make_run):
    runs = {f"mlp-{s}": make_run(depth=4, seed=s) for s in range(3)}
    runs |= {f"resnet-{s}": make_run(arch="resnet20", depth=32, seed=s) for s in range(2)}
    assert suggest(make_frames, runs).levels("depth", {}).endswith("--depth 2,3,4,5,7 --seed 0:5")


def test_an_intervention_comes_before_the_onset(make_frames, make_run):
    late = suggest(make_frames, of(make_run, [1e-4], 2, phases="ce:40,mse:400"))
    assert "--scale-features none,0.3@40,3@40 --seed 0:5" in late.intervention(PAIR)
    early = suggest(make_frames, of(make_run, [1e-4], 2))  # onset at 92, the phase ends at 200
    assert early.intervention(PAIR).endswith("--scale-features none,0.3@46,3@46 --seed 0:5")


def test_a_set_of_branches_is_continued_as_it_was(make_frames, make_run):
    group = {**PAIR, "epoch": 20, "head": "compensated", "up": 2.0, "down": 0.5}
    command = suggest(make_frames, of(make_run, [1e-4], 2)).intervention(group)
    assert "--scale-features none,0.5@20,2@20" in command
    assert command.endswith("--compensate-head")


@pytest.mark.parametrize(("seeds", "wanted"), [(0, 5), (2, 5), (5, 10), (10, 20)])
def test_more_seeds_are_rescaled_than_there_are(make_frames, make_run, seeds, wanted):
    runs = of(make_run, [1e-4], max(seeds, 2))
    runs |= {f"up-{s}": make_run(weight_decay=1e-4, seed=s, intervention="3@46") for s in range(seeds)}
    runs |= {f"other-{s}": make_run(weight_decay=1e-4, seed=s, intervention="2@46") for s in range(7)}
    assert f"none,0.3@46,3@46 --seed 0:{wanted}" in suggest(make_frames, runs).intervention(PAIR)


def test_features_that_no_single_layer_scales_get_no_intervention(make_frames, make_run):
    runs = of(make_run, [1e-3], 2, arch="resnet20", depth=20, width=1)
    assert suggest(make_frames, runs).intervention({"arch": "resnet20", "dataset": "mnist"}) == ""


def test_a_grid_has_two_of_each(make_frames, make_run):
    assert suggest(make_frames, of(make_run, [1e-4], 2)).grid() == (
        "ncdiag sweep --arch mlp,resnet20 --dataset mnist,cifar10 --seed 0:3"
    )


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        (["ce:100"], " --phase ce:100"),
        (["ce:100", "mse:100"], ""),
        (["ce:200,mse:400"], ""),  # those of the MLP: a ResNet has its own
        ([None], ""),
        (["a phase"], ""),
        (["ce:100@50"], ""),  # milestones, which the usual schedule has not
    ],
)
def test_a_grid_is_trained_in_the_phases_of_all_runs(make_frames, make_run, phases, said):
    """Else its new cells would be read under another loss than those that are there."""
    runs = {f"{place}": make_run(phases=one, seed=place) for place, one in enumerate(phases)}
    assert suggest(make_frames, runs).grid() == (
        f"ncdiag sweep{said} --arch mlp,resnet20 --dataset mnist,cifar10 --seed 0:3"
    )


def test_runs_that_say_no_pair_have_no_more_like_them(make_frames, make_run):
    """What would be trained is a network of the defaults, which is another pair."""
    nothing = {"arch": None, "dataset": None}
    suggested = suggest(make_frames, of(make_run, [1e-4], 3, **nothing))
    assert suggested.conditions(nothing) == suggested.intervention(nothing) == ""
    assert suggested.levels("depth", {}) != ""  # a claim about any network is another matter


def test_widths_that_never_collapsed_are_trained_for_longer(make_frames, make_run):
    """More seeds of 64 would not collapse either, and how far width moves fn* would stay unknown."""
    rates = {64: 90.0, 128: 30.0, 256: 25.0, 512: 20.0}
    runs = {
        f"{w}-{s}": make_run(r + s / 4, width=w, seed=s, phases="ce:20,mse:180")
        for w, r in rates.items()
        for s in range(5)
    }
    command = suggest(make_frames, runs).levels("width", {})
    assert "--phase ce:20 --phase mse:360" in command
    assert command.endswith("--width 64,128,256,512 --seed 0:5")
    depths = {name: {**run, "width": 512, "depth": run["width"] // 32} for name, run in runs.items()}
    assert "--phase ce:20 --phase mse:180" in suggest(make_frames, depths).levels("depth", {})


@pytest.mark.parametrize(("seeds", "asked"), [(2, 3), (3, 5)])
def test_a_whole_grid_of_three_seeds_gets_more_of_them(make_frames, make_run, seeds, asked):
    cells = [(arch, dataset) for arch in ("mlp", "cnn") for dataset in ("mnist", "digits")]
    runs = {f"{a}-{d}-{s}": make_run(arch=a, dataset=d, seed=s) for a, d in cells for s in range(seeds)}
    assert suggest(make_frames, runs).grid().endswith(f"--arch cnn,mlp --dataset digits,mnist --seed 0:{asked}")


@pytest.mark.parametrize("phases", ["ce:200,mse", "ce:200,mse:400", None])
def test_phases_without_their_epochs_are_the_usual_ones(make_frames, make_run, phases):
    assert "--phase" not in suggest(make_frames, of(make_run, [1e-4], 2, phases=phases)).conditions(PAIR)


def test_a_condition_that_never_collapsed_is_no_pattern(make_frames, make_run):
    runs = {**of(make_run, [1e-4], 2, depth=5), "never-0": make_run(90.0, depth=3), "never-1": make_run(90.0, depth=3)}
    runs["never-2"] = make_run(90.0, depth=3)
    command = suggest(make_frames, runs).conditions({"arch": "mlp", "dataset": "mnist"})
    assert "--depth 3" not in command


def test_the_order_of_the_store_does_not_matter(make_frames, make_run):
    runs = {f"{depth}-{seed}": make_run(20.0, depth=depth, seed=seed) for depth in (7, 3, 9) for seed in range(2)}
    there, back = (
        suggest(make_frames, dict(order)).conditions({"arch": "mlp", "dataset": "mnist"})
        for order in (runs.items(), reversed(runs.items()))
    )
    assert there == back
    assert "--depth 3" in there  # of equals the smallest


@pytest.mark.parametrize("config", [{"network": "resnet18"}, {"network": {"arch": "mlp"}}])
def test_a_configuration_that_is_not_ours_or_of_a_later_version_is_not_trained_further(make_frames, make_run, config):
    runs = of(make_run, [1e-4], 2, other="network=resnet18", config=config)
    assert suggest(make_frames, runs).conditions(PAIR) == ""


def test_what_has_settings_that_no_option_sets_is_not_trained_further(make_frames, make_run):
    runs = of(make_run, [1e-4], 2, other="label_smoothing=0.1")
    assert suggest(make_frames, runs).conditions(PAIR) == ""
