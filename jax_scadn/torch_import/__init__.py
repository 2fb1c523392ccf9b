"""PyTorch state dicts of the authors' SCADN and UTAD -> Flax variables.

The command is `python -m jax_scadn.torch_import`.
"""
