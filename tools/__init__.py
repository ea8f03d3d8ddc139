"""Measurements that are not installed: `make bench`, `make bench-node`, lost images."""
