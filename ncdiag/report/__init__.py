"""One HTML page of everything that the runs show: what it holds, how it is written, and a server that keeps it fresh."""
