"""One HTML page of all that the runs show: what it holds, how it is written, and a server that keeps it fresh."""
