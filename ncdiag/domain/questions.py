"""The questions that `analyze` answers, and the figures that `plot` draws, by the names that commands have for them."""

# Of those about one factor: the column of the runs that it is.
FACTORS = {"depth": "depth", "width": "width", "activation": "activation", "weight-decay": "weight_decay"}
# In the order in which a summary of everything shows them.
QUESTIONS = ("claims", "threshold", "lead", "forecast", "additivity", "attractor", *FACTORS)
OF_UNTOUCHED = ("threshold", "lead", "forecast", "additivity")  # what rescaled runs have no part in
FIGURE_NAMES = (
    *("trajectory", "phase-portrait", "threshold", "lead", "calibration", "grid", "attractor"),
    *FACTORS,
    "claims",
)


def question_on(factor: str) -> str:
    """Name the question about a factor."""
    return next(question for question, column in FACTORS.items() if column == factor)
