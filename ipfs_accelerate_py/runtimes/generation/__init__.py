"""Writing token by token: batches that requests join and leave at any step."""
