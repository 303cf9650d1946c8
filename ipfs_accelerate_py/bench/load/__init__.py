"""Any backend or server under load: what its answers take, and how many come in time."""
