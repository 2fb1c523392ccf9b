"""Data sets: sources, records and Grain batches."""
