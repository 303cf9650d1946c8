"""The sixteen faults, played against ours and others in one run, with a scorecard: ``python -m bench.faults``."""
