"""What models cost: prices from the package genai-prices, and those of one's own; the arithmetic of both."""

from __future__ import annotations

from ipfs_accelerate_py.prices.book import PriceBook
from ipfs_accelerate_py.prices.overrides import read_prices
from ipfs_accelerate_py.prices.package import prices_installed
from ipfs_accelerate_py.prices.price import CLASSES, Price, Step

__all__ = ["CLASSES", "Price", "PriceBook", "Step", "prices_installed", "read_prices"]
