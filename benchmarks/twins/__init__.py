"""SCADN and UTAD in PyTorch: the same functions as ours, to be timed beside them.

Nothing here imports JAX. Parameters have the names of the authors' code, which
`jax_scadn.torch_import` knows.
"""
