"""What prepares and does the training; it is not installed with the node."""
