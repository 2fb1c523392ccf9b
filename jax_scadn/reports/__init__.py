"""Metrics, intervals, tables and figures: numbers and files."""
