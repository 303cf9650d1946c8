"""Dialects: pure translations between the vocabulary and the services' wire formats."""
