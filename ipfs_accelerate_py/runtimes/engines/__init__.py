"""Engines: what makes a network of a checkpoint and runs it. One a module, and each says what it cannot run."""
