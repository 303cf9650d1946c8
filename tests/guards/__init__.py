"""What no test may do, checked around every test: see `tests/conftest.py`."""
