"""SCADN and UTAD in PyTorch: the same functions as ours, timed against ours.

Nothing here imports JAX. Parameters have the names of the authors' code, as in
`jax_scadn.torch_import`.
"""
