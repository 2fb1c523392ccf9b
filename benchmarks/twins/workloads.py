"""The PyTorch side of each case, with drawn weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import flop_counter

from benchmarks import weights
from benchmarks.twins import forms, scadn, utad

Outputs = dict[str, torch.Tensor]


def workload(
    task: str,
    settings: dict[str, Any],
    inputs: Mapping[str, np.ndarray],
    given: list[Mapping[str, np.ndarray]],
    form: forms.Form,
) -> Callable[[], Outputs]:
    """The call that is compared and timed.

    Args:
      task: see `benchmarks.cases.Case`.
      settings: resolved ones, by their full names.
      inputs: `benchmarks.ours.inputs`.
      given: the random draws of the first steps; later ones draw for themselves.
      form: of PyTorch, see `forms`.
    """
    if task == "matrix-product":
        a, b = map(torch.from_numpy, (inputs["a"], inputs["b"]))
        return lambda: {"product": a @ b}
    module = _module(task, settings, inputs)
    load_drawn(module)
    layout = torch.channels_last if form.channels_last else torch.contiguous_format
    module.to(memory_format=layout)
    batch = [images.contiguous(memory_format=layout) for images in _batch(task, inputs)]
    if not task.endswith("-step"):
        module.eval()
    # Calls that recompile would look like slow ones.
    torch._dynamo.config.error_on_recompile = True
    run = torch.compile(module, dynamic=False) if form.compiled else module
    if task.endswith("-step"):
        return _step(module, run, batch, list(given))
    return _score(task, module, run, batch, form)


def flops(task: str, settings: dict[str, Any], inputs: Mapping[str, np.ndarray]) -> int:
    """Additions and multiplications of a call's convolutions and matrix products.

    Counted by PyTorch without computing anything; the same number is used for both
    frameworks, regardless of their algorithms.
    """
    if task == "matrix-product":
        return 2 * inputs["a"].shape[0] ** 3
    with torch.device("meta"), flop_counter.FlopCounterMode(display=False) as counter:
        module = _module(task, settings, inputs)
        batch = [images.to("meta") for images in _batch(task, inputs)]
        if task.endswith("-step"):
            losses = module(*batch, **module.random(len(batch[0])))
            losses[module.differentiated].backward()
        else:
            module.eval()
            _score(task, module, module, batch, forms.of(task)[0])()
    return counter.get_total_flops()


def arrays(outputs: Outputs) -> dict[str, np.ndarray]:
    """The outputs as NumPy arrays, pictures with channels last."""
    values = {name: value.detach().numpy() for name, value in outputs.items()}
    return {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in values.items()}


def _module(task: str, settings: dict[str, Any], inputs) -> nn.Module:
    if task.startswith("scadn"):
        masks = torch.tensor(inputs["masks"])
        build = {"scadn-step": scadn.Training, "scadn-score": scadn.Scoring}[task]
        return build(settings, masks)
    build = {
        "impression-step": utad.ImpressionTraining,
        "expert-step": utad.ExpertTraining,
        "utad-score": utad.Scoring,
    }[task]
    return build(settings)


def load_drawn(module: nn.Module) -> None:
    """Draws the weights, see `benchmarks.weights`."""
    state = {
        name: torch.from_numpy(
            np.asarray(weights.drawn(name.removeprefix("experts."), tuple(value.shape)))
        )
        for name, value in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    module.load_state_dict(state, strict=False)


def _batch(task: str, inputs: Mapping[str, np.ndarray]) -> list[torch.Tensor]:
    names = ("image", "impression") if task == "expert-step" else ("image",)
    return [torch.from_numpy(inputs[name]).permute(0, 3, 1, 2) for name in names]


def _step(module: nn.Module, losses, batch, given: list) -> Callable[[], Outputs]:
    module.optimize()

    def call():
        if given:
            drawn = {k: torch.tensor(v) for k, v in given.pop(0).items()}
        else:
            drawn = module.random(len(batch[0]))
        return module.step(losses, *batch, **drawn)

    return call


def _score(task: str, module, run, batch, form: forms.Form) -> Callable[[], Outputs]:
    (images,) = batch

    @torch.inference_mode()
    def call():
        if task == "scadn-score":
            return module.score(run, images, form.at_once)
        return run(images)

    return call
