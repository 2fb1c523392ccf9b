"""Layers that the networks share, and their forms for each platform."""
