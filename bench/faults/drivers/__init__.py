"""What asks on behalf of each contestant, run in its own virtual environment."""
