"""How fast: models on this machine and services anywhere, beside one another, in pairs."""
