"""Networks, data and the training loop: yields records, never writes them."""
