"""On `PYTHONPATH` of every process that a test starts, so that `sitecustomize` is loaded there too."""
