"""Losses of the training stages, by kind."""
