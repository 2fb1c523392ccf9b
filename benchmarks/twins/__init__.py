"""SCADN and UTAD in PyTorch: the same functions as ours, timed against them.

Nothing here imports JAX. Parameters have the names of the authors' code, which
`jax_scadn.torch_import` knows.
"""
