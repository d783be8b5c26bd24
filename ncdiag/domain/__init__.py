"""What ncdiag knows: specifications, metrics, onset, statistics. numpy and scipy only, no I/O."""
