"""One file per algorithm: its options, what it prepares, its loss."""
