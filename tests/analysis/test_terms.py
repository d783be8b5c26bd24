import pytest

from ncdiag.analysis.terms import Terms
from ncdiag.errors import AnalysisError, SpecError


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"where": "colour=red"}, AnalysisError, "no column 'colour'"),
        ({"by": ("arch", "datasets")}, AnalysisError, r"did you mean dataset\?"),
        ({"level": 95.0}, SpecError, "above 0.5 and below 1"),
    ],
)
def test_terms_that_cannot_be_asked_on_are_refused_when_they_are_made(wrong, error, said):
    with pytest.raises(error, match=said):
        Terms(**wrong)
