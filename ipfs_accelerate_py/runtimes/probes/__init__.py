"""What one model type does on one runtime: it is built small, asked, compared, and timed."""
