"""Times the PyTorch models in a process of their own; each function returns plain data."""

# pyright: reportMissingImports=false
# PyTorch and pythae are the optional extra `benchmark`.

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.paper import LEARNING_RATE, load_images
from experiments.benchmarks.torch_vae import OriginalVAE, pythae_vamp

Step = Callable[[torch.Tensor], None]


def _start() -> torch.device:
    torch.manual_seed(0)
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _images(num_images: int, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(load_images(num_images, 1).train["x"].reshape(num_images, -1), device=device)


def _make_step(model: torch.nn.Module, loss: Callable[[torch.Tensor], torch.Tensor]) -> Step:
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(x: torch.Tensor) -> None:
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        optimizer.step()
        value.item()  # the original sums the losses up, step by step

    return step


def _seconds_per_step(step: Step, x: torch.Tensor, batch_size: int, blocks: int, block_steps: int) -> float:
    """Median over blocks of steps, after one of warm-up; each takes shuffled rows of data that lie on the device."""
    seconds = []
    for _ in range(blocks + 1):
        order = torch.randperm(len(x))
        _wait()
        began = time.perf_counter()
        for i in range(block_steps):
            step(x[order[i * batch_size : (i + 1) * batch_size]])
        _wait()
        seconds.append((time.perf_counter() - began) / block_steps)
    return statistics.median(seconds[1:])


def train(prior: str, num_pixels: int, batch_size: int, blocks: int, block_steps: int, **sizes: Any) -> dict[str, Any]:
    """Seconds of a step of the original's structure: eager, with its DataLoader, and compiled."""
    device = _start()
    x = _images(batch_size * block_steps, device)
    model = OriginalVAE(prior, num_pixels, **sizes).to(device)
    step = _make_step(model, lambda x: model(x).mean())
    seconds: dict[str, Any] = {"eager": _seconds_per_step(step, x, batch_size, blocks, block_steps)}
    seconds["loader"] = _seconds_with_loader(step, x.cpu(), batch_size, blocks, device)
    try:
        compiled = _make_step(model, torch.compile(lambda x: model(x).mean()))
        seconds["compiled"] = _seconds_per_step(compiled, x, batch_size, blocks, block_steps)
    except Exception as error:  # no C++ compiler, or a version of PyTorch that cannot: a row without a number
        seconds["compile_error"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return seconds | {
        "versions": {"torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "device": str(device),
    }


def _seconds_with_loader(step: Step, x: torch.Tensor, batch_size: int, blocks: int, device: torch.device) -> float:
    """The same with the DataLoader of the original's epoch, which puts a batch together image by image."""
    data = torch.utils.data.TensorDataset(x, torch.zeros(len(x)))
    loader = torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=True)
    seconds = []
    for _ in range(blocks):
        began = time.perf_counter()
        for batch, _ in loader:
            step(batch.to(device))
        _wait()
        seconds.append((time.perf_counter() - began) / len(loader))
    return statistics.median(seconds)


def train_pythae(num_pixels: int, batch_size: int, blocks: int, block_steps: int, **sizes: Any) -> dict[str, Any]:
    """Seconds of a step of pythae's VAMP, in a plain loop: its trainer is not counted."""
    from importlib.metadata import version

    device = _start()
    model = pythae_vamp(num_pixels, **sizes).to(device)
    x = _images(batch_size * block_steps, device)
    step = _make_step(model, lambda x: model({"data": x}).loss)
    seconds = _seconds_per_step(step, x, batch_size, blocks, block_steps)
    return {"eager": seconds, "versions": {"pythae": version("pythae")}}


def log_marginal(prior: str, num_pixels: int, num_images: int, num_samples: int, **sizes: Any) -> dict[str, Any]:
    """Median seconds for log p(x) of one image, in the original's structure."""
    device = _start()
    model = OriginalVAE(prior, num_pixels, **sizes).to(device)
    seconds = []
    for image in _images(num_images + 1, device):
        began = time.perf_counter()
        value = model.log_marginal(image, num_samples).item()
        seconds.append(time.perf_counter() - began)
        assert np.isfinite(value)
    return {"seconds": statistics.median(seconds[1:])}
