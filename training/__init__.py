"""Training of the demo's network, and the stand-in body; not installed with the node."""
