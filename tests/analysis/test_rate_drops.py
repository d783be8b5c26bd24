import numpy as np

from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.rate_drops import WINDOW, list_drops
from ncdiag.domain.onset_rule import OnsetRule

ONSET = 93  # of make_run() at every epoch: 20 ln 100 = 92.1


def flag_of(frames, **rule):
    return onset_table(*frames, OnsetRule(**rule))["after_drop"].tolist()


def steps(drop, epochs=200, low=1e-4):
    """A rate of .001 up to and with the epoch `drop`, and a tenth of it from there on."""
    return [1e-3 if epoch <= drop else low for epoch in range(1, epochs + 1)]


def test_an_onset_soon_after_a_drop_is_flagged(make_frames, make_run):
    drops = {"same": ONSET - 1, "last": ONSET - WINDOW, "before": ONSET - WINDOW - 1, "after": ONSET}
    frames = make_frames({name: make_run(lr=steps(drop)) for name, drop in drops.items()})
    assert flag_of(frames) == [1, 1, 0, 0]


def test_the_first_evaluation_after_a_drop_is_flagged_however_late(make_frames, make_run):
    run = make_run(step=10)
    at = range(10, 201, 10)
    early, late = ([1e-3 if epoch <= drop else 1e-4 for epoch in at] for drop in (90, 80))
    assert flag_of(make_frames({"a": run | {"lr": early}, "b": run | {"lr": late}})) == [1, 0]


def test_a_cosine_is_no_drop(make_frames, make_run):
    rate = (1e-3 * (1 + np.cos(np.pi * np.arange(200) / 94)) / 2).tolist()  # at 93 it is nearly 0, and falling fast
    assert flag_of(make_frames({"a": make_run(lr=rate)})) == [0]


def test_a_new_phase_is_no_drop(make_frames, make_run):
    frames = make_frames({"a": make_run(lr=steps(92), phase=[1] * 92 + [2] * 108)})
    assert flag_of(frames) == [0]


def test_without_a_rate_or_an_onset_it_is_not_known(make_frames, make_run):
    assert np.isnan(flag_of(make_frames({"a": make_run(), "b": make_run(90.0, lr=steps(100))}))).all()


def drops_of(frames):
    return list_drops(*frames)


def test_a_drop_is_at_the_last_evaluation_at_the_higher_rate(make_frames):
    rates = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]
    frames = make_frames({"a": {"epoch": [10, 20, 30, 40, 50, 60], "lr": rates}, "b": {"epoch": [10, 20]}})
    assert drops_of(frames) == {"a": [30, 50]}


def test_steps_are_found_however_sparse_the_evaluations_where_the_schedule_is_known(make_frames):
    """Evaluated every hundred epochs, each value of a schedule may be seen once."""
    run = {"epoch": [100, 200, 300], "lr": [0.1, 0.01, 0.001]}
    assert drops_of(make_frames({"a": run | {"schedule": "multistep"}})) == {"a": [100, 200]}
    assert drops_of(make_frames({"a": run})) == {}


def test_a_cosine_has_no_drops_however_sparse_the_evaluations(make_frames):
    epochs = [25, 50, 75, 95]
    rates = [0.05 * (1 + np.cos(np.pi * epoch / 100)) for epoch in epochs]
    assert rates[-1] < 0.5 * rates[-2]
    assert drops_of(make_frames({"a": {"epoch": epochs, "lr": rates, "schedule": "cosine"}})) == {}
