"""Processes, devices, files and commands: what every package stands on."""
