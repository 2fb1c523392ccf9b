"""UTAD (arXiv 2103.11671): two stages, and the method that scores."""

from jax_scadn.methods.utad.method import Method
from jax_scadn.methods.utad.settings import COLUMNS, FIELDS, PRESETS, check

__all__ = ["COLUMNS", "FIELDS", "PRESETS", "Method", "check"]
