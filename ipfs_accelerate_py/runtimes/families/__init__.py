"""Model families: from a model's configuration to what it can be asked, and how it is loaded."""
