"""Serving models: loaded ones, in this process or in a worker of their own, under one budget of memory."""
