"""PyTorch state dicts of the authors' SCADN -> Flax variables."""
