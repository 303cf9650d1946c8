"""OpenVINO Model Server's three APIs."""
