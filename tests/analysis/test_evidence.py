import math

import pytest

from ncdiag.analysis.evidence import Evidence, Part, combine, judge_all

SHOWN = Part(name="a", shown=True, p=0.01, lacking="a is not shown")
NOT_SHOWN = Part(name="b", shown=False, p=0.4, lacking="b is not shown")
UNTESTED = Part(name="c", shown=None, lacking="c is not tested")
COUNTED = Part(name="d", shown=True, lacking="d is counted")


def of(*parts, **said):
    return Evidence(group={}, ours="1", source=None, parts=parts, holds="all is shown", opposite="not so", **said)


@pytest.mark.parametrize(
    ("evidence", "verdict", "reason"),
    [
        (of(SHOWN, COUNTED), "supported", "all is shown (p = .01)"),
        (of(COUNTED), "supported", "all is shown"),
        (of(SHOWN, NOT_SHOWN), "inconclusive", "b is not shown"),
        (of(SHOWN, UNTESTED), "not testable", "c is not tested"),
        (of(NOT_SHOWN, UNTESTED), "inconclusive", "b is not shown"),
        (of(UNTESTED), "not testable", "c is not tested"),
        (of(SHOWN, blocked=["two losses"]), "inconclusive", "two losses"),
        (of(UNTESTED, blocked=["two losses"]), "not testable", "c is not tested"),
        (of(UNTESTED, contrary=0.01, blocked=["two losses"]), "inconclusive", "two losses"),
        (of(NOT_SHOWN, contrary=0.01, shielded=["9 stopped"]), "inconclusive", "9 stopped"),
        (of(NOT_SHOWN, contradicted=True, shielded=["9 stopped"]), "inconclusive", "9 stopped"),
        (of(SHOWN, contrary=0.4, shielded=["9 stopped"]), "supported", "all is shown (p = .01)"),
        (of(SHOWN, contrary=0.01), "refuted", "not so"),
        (of(SHOWN, contrary=0.06), "supported", "all is shown (p = .01)"),
        (of(NOT_SHOWN, contrary=0.01, blocked=["two losses"]), "inconclusive", "two losses"),
        (of(NOT_SHOWN, contradicted=True), "refuted", "not so"),
        (of(UNTESTED, contrary=0.01), "refuted", "not so"),
    ],
)
def test_the_rules_of_a_verdict(evidence, verdict, reason):
    (judged,) = judge_all([evidence], 0.05)
    assert (judged.verdict, judged.reason) == (verdict, reason)


def test_the_largest_p_counts_and_is_corrected_over_the_groups():
    weaker = Part(name="e", shown=True, p=0.03, lacking="")
    alone, *several = [judge_all([of(SHOWN, weaker)], 0.05)[0], *judge_all([of(SHOWN, weaker), of(weaker)], 0.05)]
    assert (alone.verdict, alone.p_holm) == ("supported", pytest.approx(0.03))
    assert [one.verdict for one in several] == ["inconclusive", "inconclusive"]
    assert [one.p_holm for one in several] == pytest.approx([0.06, 0.06])
    assert "2 tests are allowed for" in several[0].reason


def test_a_group_without_a_test_is_no_member_of_the_family():
    judged = judge_all([of(Part(name="e", shown=True, p=0.03, lacking="")), of(SHOWN, UNTESTED)], 0.05)
    assert [one.verdict for one in judged] == ["supported", "not testable"]
    assert judged[0].family == 1


def test_a_blocked_group_is_no_member_of_the_family_of_either_side():
    """It can be neither supported nor refuted, whatever its p: beside it no other p is multiplied by one more."""
    weaker = Part(name="e", shown=True, p=0.03, lacking="")
    blocked = of(SHOWN, contrary=0.03, blocked=["two losses"])
    judged = judge_all([of(weaker, contrary=0.9), blocked, of(NOT_SHOWN, contrary=0.02), blocked], 0.05)
    assert [one.verdict for one in judged] == ["inconclusive", "inconclusive", "refuted", "inconclusive"]
    assert [one.p_holm for one in judged] == pytest.approx([0.06, math.nan, 0.4, math.nan], nan_ok=True)
    (corrected,) = judge_all([of(SHOWN, family=3, blocked=["two losses"])], 0.05)
    assert math.isnan(corrected.p_holm)
    alone = judge_all([of(weaker), blocked], 0.05)[0]
    assert (alone.verdict, alone.p_holm, alone.family) == ("supported", 0.03, 1)


def test_p_values_that_were_corrected_already_are_taken_as_they_are():
    judged = judge_all([of(Part(name="e", shown=True, p=0.03, lacking=""), family=5)] * 3, 0.05)
    assert {(one.verdict, one.p_holm, one.family) for one in judged} == {("supported", 0.03, 5)}
    (lost,) = judge_all([of(Part(name="e", shown=True, p=0.06, lacking=""), family=5)], 0.05)
    assert (lost.verdict, lost.reason) == ("inconclusive", "not shown once 5 tests are allowed for (p = .06)")


def test_no_p_is_invented():
    assert math.isnan(of(SHOWN, UNTESTED).p)
    assert math.isnan(of(COUNTED).p)
    assert of(SHOWN, COUNTED).p == 0.01


@pytest.mark.parametrize(
    ("verdicts", "combined"),
    [
        (["supported", "not testable"], "supported"),
        (["supported", "inconclusive"], "inconclusive"),
        (["supported", "refuted", "inconclusive"], "refuted"),
        (["not testable", "not testable"], "not testable"),
    ],
)
def test_a_claim_about_all_groups(verdicts, combined):
    assert combine(verdicts) == combined


def test_a_support_names_its_p_and_what_that_was_corrected_over():
    part = Part(name="e", shown=True, p=0.02, lacking="")
    assert [one.reason for one in judge_all([of(part), of(SHOWN)], 0.05)] == [
        "all is shown (p = .02, corrected over 2)"
    ] * 2
    (taken,) = judge_all([of(part, family=5)], 0.05)
    assert taken.reason == "all is shown (p = .02, corrected over 5)"
