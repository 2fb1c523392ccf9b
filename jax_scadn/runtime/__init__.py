"""Processes, devices, files and command lines."""
