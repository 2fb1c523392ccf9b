"""From reconstructions under masks to anomaly maps and image scores."""
