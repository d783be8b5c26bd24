"""Where training meets the store: claim a run, train it, write every epoch."""
