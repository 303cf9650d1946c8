"""The compatibility matrix: its store, its reports, its comparisons."""
