"""Whole experiments: categories, ablations, comparisons."""
