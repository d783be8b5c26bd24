"""What the options that commands share mean."""

import inspect

from ncdiag.analysis.terms import Terms
from ncdiag.cli.options import takes_terms


def test_whoever_gives_no_option_asks_on_the_terms_that_a_script_does() -> None:
    given: list[Terms] = []

    @takes_terms
    def ask(*, terms: Terms) -> None:
        given.append(terms)

    defaults = {name: option.default for name, option in inspect.signature(ask).parameters.items()}
    ask(**defaults)
    ask(**defaults | {"where": "depth=5", "by": "weight-decay"})
    assert given == [Terms(), Terms(where="depth=5", by=("weight_decay",))]
