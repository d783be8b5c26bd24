from ncdiag.domain.shares import counted, epochs, four_digits, lead_is, none_of, out_of, percent


def test_shares_have_three_digits_and_an_end():
    shares = {None: "-", 0.08: "8%", 9.99: "999%", 9.996: "1000%", 10.0: "1000%", 11: ">1000%", 1179.455: ">1000%"}
    assert [percent(share) for share in shares] == list(shares.values())


def test_what_rounding_leaves_is_nothing():
    assert [percent(share) for share in (1.35e-16, 0.0, -1e-12, 1e-6)] == ["0%", "0%", "0%", "0.0001%"]


def test_figures_have_four_digits_and_large_ones_all_of_theirs():
    figures = [1.23456, 12345.6, 9999.6, 123456789.0, -0.000123456, 0.0]
    assert list(map(four_digits, figures)) == ["1.235", "12346", "10000", "1.235e+08", "-0.0001235", "0"]


def test_few_epochs_have_a_decimal():
    assert list(map(epochs, (None, 0.04, -9.94, 9.96, 123.4, -12.3))) == ["-", "0.0", "-9.9", "10", "123", "-12"]


def test_a_mean_lead_is_an_upper_bound_where_runs_ended_before_their_alarm():
    assert [lead_is(mean, n) for mean, n in ((12.3, 0), (12.3, 2), (None, 2))] == ["12", "<= 12", "-"]


def test_one_is_not_many():
    assert [counted(n, "run") for n in (0, 1, 2, 2500)] == ["0 runs", "1 run", "2 runs", "2,500 runs"]
    assert [none_of(n, "run") for n in (1, 2, 2500)] == ["no run", "none of the 2 runs", "none of the 2,500 runs"]


def test_of_some_things_each_has_its_verb():
    said = [out_of(n, total, "run", "is/are") for n, total in ((1, 1), (1, 5), (0, 5), (3, 2500))]
    assert said == ["1 of 1 run is", "1 of 5 runs is", "0 of 5 runs are", "3 of 2,500 runs are"]
    assert [out_of(1, 2, "run", "may have been"), out_of(1, 2, "run")] == ["1 of 2 runs may have been", "1 of 2 runs"]
