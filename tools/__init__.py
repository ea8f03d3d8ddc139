"""`make bench` and `make bench-node`: benchmarks that are not installed."""
