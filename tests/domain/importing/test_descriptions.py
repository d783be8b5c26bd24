import pytest

from ncdiag.domain.importing.descriptions import FIELDS, find_misspelt, own_export, read_description
from ncdiag.domain.records import IMPORT_FIELDS


def test_known_fields_have_their_type_and_others_are_kept():
    said = {
        "arch": "mlp",
        "depth": "5",
        "width": "512",
        "lr": "1e-3",
        "log_every": "10",
        "ratio": "0.5",
        "note": "-",
    }
    assert read_description(said) == {
        "arch": "mlp",
        "depth": 5,
        "width": 512.0,
        "lr": 0.001,
        "log_every": 10,
        "ratio": 0.5,
        "note": "-",
    }


def test_every_field_that_the_store_has_a_column_for_is_known():
    assert set(FIELDS) == set(IMPORT_FIELDS)


@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "12345678901234567890", "1_0"])
def test_a_text_that_json_has_no_number_for_stays_a_text_or_a_float(text: str):
    value = read_description({"other": text})["other"]
    assert value == (1.2345678901234567e19 if text[0] == "1" and text.isdigit() else text)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("depth", "five"),
        ("depth", "0"),
        ("seed", "-1"),
        ("seed", "3000000000"),
        ("lr", "nan"),
        ("lr", "-0.1"),
        ("arch", "a\nb"),
        ("arch", "x" * 201),
        ("phases", "ce,mse"),
        ("phase1_epochs", "0"),
        ("phase2_loss", "m s e"),
        ("data_sha256", "abc"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(field: str, text: str):
    with pytest.raises(ValueError, match=f"^{field}: "):
        read_description({field: text})


def test_misspelt_fields_are_found_and_columns_of_published_manifests_are_not():
    assert find_misspelt(["dept", "optimiser", "batchsize"]) == {
        "dept": "depth",
        "optimiser": "optimizer",
        "batchsize": "batch_size",
    }
    published = ["file", "dataset", "arch", "phase1_loss", "phase1_epochs", "phase2_loss", "log_every", "note"]
    assert find_misspelt(published, ["file"]) == {}


def test_a_row_of_our_own_export_says_what_the_run_was_and_not_how_it_was_kept():
    config = '{"note": "x", "log_every": 10, "amp": true, "network": {}}'
    row = {"status": "done", "arch": "mlp", "seconds": "3.5", "config": config}
    assert own_export(row) == {"arch": "mlp", "note": "x", "log_every": "10", "amp": "True"}


@pytest.mark.parametrize("config", ["", "{", "[1]", "[" * 100_000])
def test_a_configuration_that_is_none_is_passed_over(config: str):
    assert own_export({"depth": "5", "config": config}) == {"depth": "5"}
