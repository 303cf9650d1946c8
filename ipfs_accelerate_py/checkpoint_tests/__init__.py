"""Ready pytest modules for checkpoints of one's own: made for any model type from one template, and verified."""
