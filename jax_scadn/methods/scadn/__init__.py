"""SCADN (AAAI 2021): inpaints masked stripes; what cannot be inpainted is anomalous."""

from jax_scadn.methods.scadn.method import Method
from jax_scadn.methods.scadn.settings import COLUMNS, FIELDS, PRESETS, check

__all__ = ["COLUMNS", "FIELDS", "PRESETS", "Method", "check"]
