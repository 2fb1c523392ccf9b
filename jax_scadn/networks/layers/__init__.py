"""Layers shared by the networks, and their forms for each platform."""
