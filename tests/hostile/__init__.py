"""A campaign of hostile inputs: `python -m tests.hostile --count=500`."""
