"""Files that come in from elsewhere: what they are, and trajectories read from them as domain values."""
