"""`make bench`: what the parts cost on this machine, as medians."""
