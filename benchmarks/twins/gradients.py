"""Gradients and updates of training steps in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def frozen(network: nn.Module, *inputs: torch.Tensor):
    """The network's outputs, without gradients for its parameters."""
    constants = {name: p.detach() for name, p in network.named_parameters()}
    return torch.func.functional_call(network, constants, inputs)


def norm(network: nn.Module) -> torch.Tensor:
    """L2 norm of all gradients together."""
    grads = [p.grad for p in network.parameters()]
    return torch.nn.utils.get_total_norm(grads)


def descend(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """One update by each optimizer; then clears the gradients."""
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
