"""Tables in, results out: the questions of the paper, asked of stored runs."""
