"""PyTorch state dicts of the authors' SCADN and UTAD -> Flax variables.

The command is `__main__.py`.
"""
