import pytest

from ncdiag.domain.importing.settings import Setting, check_all_fit, general, parse_maps, parse_sets, specific
from ncdiag.errors import SpecError


def test_maps_are_separated_by_commas_and_sets_are_not():
    assert general(parse_maps(["feature_norm=feat_norm,nc1=NC1", "nc3=x"])) == {
        "feature_norm": "feat_norm",
        "nc1": "NC1",
        "nc3": "x",
    }
    assert general(parse_sets(["phases=ce:200,mse:400", "note=a=b"])) == {"phases": "ce:200,mse:400", "note": "a=b"}


def test_an_entry_can_be_for_some_files_only():
    sets = parse_sets(["depth=5", "gelu_*:phases=ce:200,mse", "gelu_s3.csv:depth="])
    assert sets[1] == Setting(pattern="gelu_*", key="phases", value="ce:200,mse")
    assert general(sets) == {"depth": "5"}
    assert specific(sets, ["gelu_s3.csv", "gelu_s3"]) == {"phases": "ce:200,mse", "depth": ""}
    assert specific(sets, ["tanh_s3.csv"]) == {}


@pytest.mark.parametrize("text", ["feature_norm", "=x", ":nc1=x", "", " :nc1=x"])
def test_what_is_no_entry_is_refused_with_an_example(text: str):
    with pytest.raises(SpecError, match="--map takes feature_norm=feat_norm"):
        parse_maps([text])


def test_a_map_to_an_unknown_field_names_the_nearest():
    with pytest.raises(SpecError, match="did you mean feature_norm"):
        parse_maps(["feature_nom=x"])


def test_an_entry_twice_is_refused_but_not_a_general_and_a_specific_one():
    parse_sets(["depth=5", "a:depth=7"])
    with pytest.raises(SpecError, match="names 'depth' twice"):
        parse_sets(["depth=5", "depth=7"])


def test_a_pattern_that_fits_nothing_names_the_nearest_file():
    check_all_fit(parse_sets(["gelu_*:depth=5"]), ["gelu_s3"], "--set")
    with pytest.raises(SpecError, match=r"--set: no file or run here fits 'gelu_s4' \(did you mean gelu_s3\?\)"):
        check_all_fit(parse_sets(["gelu_s4:depth=5"]), ["gelu_s3", "tanh"], "--set")
