"""Trained methods at work: detectors, calibration, evaluation, prediction."""
