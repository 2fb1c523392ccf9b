"""PyTorch state dicts of the authors' SCADN and UTAD -> Flax variables.

The command line is `__main__.py`.
"""
