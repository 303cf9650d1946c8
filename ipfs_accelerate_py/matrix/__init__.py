"""What runs where, how fast and how well: every model type on every runtime here, measured, kept and compared."""
