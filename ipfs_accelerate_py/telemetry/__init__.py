"""What is told of calls to those who watch: traces and metrics by OpenTelemetry, alerts, logs and reports.

Nothing of what was asked or answered is told unless somebody asks for it by name (``capture_content``), and never a
key. Everything here hears of calls in one of two ways: as a policy around them (`tracing`), or as an observer of their
records when they are over.
"""
