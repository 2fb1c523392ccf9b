"""Masks, and merging of per-scale maps into anomaly maps and image scores."""
