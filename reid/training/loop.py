"""The loop that every network is trained by: steps, validation, checkpoints, a log. It can be killed at any time and goes on where it was.

A step's photos, warps and noise depend on the seed and its number alone, so a run that was interrupted ends with the weights, bit for
bit, that it would have had.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingsError, StoreError
from ..store import write_atomically

AHEAD = 4  # batches prepared while the network works
CONSTANT = 8 / 18  # share of the steps at full rate (arXiv 2006.01030: 8 epochs of 18)
LEAST_RATE = 0.05  # what it has fallen to at the end, of the full rate


@dataclass(frozen=True)
class Plan:
    """How long, how fast, how often."""

    steps: int
    batch: int = 8  # pairs a step
    rate: float = 5e-4
    decay: float = 0.01  # of the weights
    every: int = 250  # steps between validations and checkpoints
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Task:
    """What is trained: its network, how a pair is made, its loss, and how good it is on pairs that it does not learn from."""

    name: str
    network: nn.Module
    pair: Callable[[int], Any]  # of this number
    loss: Callable[[nn.Module, list[Any], torch.Generator], Mapping[str, Tensor]]  # "loss" is minimised
    validate: Callable[[nn.Module], Mapping[str, float]]  # "score" is maximised
    about: Mapping[str, Any]  # settings that a resumed run must share


def learning_rate(step: int, plan: Plan) -> float:
    """Constant, then falling by the same factor each step."""
    past = max(0.0, step / plan.steps - CONSTANT) / (1 - CONSTANT)
    return plan.rate * math.exp(past * math.log(LEAST_RATE))


def train(task: Task, plan: Plan, out: Path, resume: bool, progress: Callable[[int, int, Mapping[str, float]], None]) -> Path:
    """Train `task` and return the file of its best weights, `out`/NAME.safetensors.

    `progress(step, steps, figures)` is called after each step. Raises SettingsError for a folder that holds another run."""
    from safetensors.torch import save

    out.mkdir(parents=True, exist_ok=True)
    checkpoint, best_file = out / "checkpoint.pt", out / f"{task.name}.safetensors"
    if checkpoint.exists() and not resume:
        raise SettingsError(f"{out} holds a run already; go on with it by --resume, or name another folder")
    device = torch.device(plan.device)
    network = task.network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=plan.decay)
    about = {"task": task.name, "batch": plan.batch, "rate": plan.rate, "seed": plan.seed, "steps": plan.steps, **task.about}
    done, best = 0, -math.inf
    if checkpoint.exists():
        done, best = _restore(checkpoint, network, optimiser, about)
    columns: list[str] | None = None
    with ThreadPoolExecutor(1) as pool:

        def batch(step: int) -> list[Any]:
            return [task.pair(step * plan.batch + i) for i in range(plan.batch)]

        waiting = {step: pool.submit(batch, step) for step in range(done, min(done + AHEAD, plan.steps))}
        sums: dict[str, float] = {}
        started, since = time.monotonic(), done
        for step in range(done, plan.steps):
            if step + AHEAD < plan.steps:
                waiting[step + AHEAD] = pool.submit(batch, step + AHEAD)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, plan)
            network.train()
            generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
            parts = task.loss(network, waiting.pop(step).result(), generator)
            optimiser.zero_grad(set_to_none=True)
            parts["loss"].backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            figures = {name: float(value.detach()) for name, value in parts.items()}
            if not math.isfinite(figures["loss"]):
                raise StoreError(f"the loss is {figures['loss']} at step {step}; start again with a smaller --rate")
            sums = {name: sums.get(name, 0.0) + value for name, value in figures.items()}
            progress(step + 1, plan.steps, figures)
            if (step + 1) % plan.every == 0 or step + 1 == plan.steps:
                network.eval()
                with torch.inference_mode():
                    found = dict(task.validate(network))
                n = step + 1 - since
                row = {"step": step + 1, "seconds": round(time.monotonic() - started, 1)}
                row |= {name: round(value / n, 6) for name, value in sums.items()}
                row |= {f"val_{name}": round(value, 6) for name, value in found.items()}
                columns = columns or list(row)
                _log(out / "log.csv", row, columns)
                sums, since = {}, step + 1
                if found["score"] > best:
                    best = found["score"]
                    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
                    write_atomically(best_file, save(state, metadata={"step": str(step + 1)}))
                _store(checkpoint, network, optimiser, step + 1, best, about)
    write_atomically(out / "card.json", (json.dumps(about | {"best_score": best}, indent=1) + "\n").encode())
    return best_file


def _store(file: Path, network: nn.Module, optimiser: torch.optim.Optimizer, step: int, best: float, about: Mapping[str, Any]) -> None:
    import io

    data = io.BytesIO()
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "best": best, "about": json.dumps(about)}
    torch.save(state, data)
    write_atomically(file, data.getvalue())


def _restore(file: Path, network: nn.Module, optimiser: torch.optim.Optimizer, about: Mapping[str, Any]) -> tuple[int, float]:
    """The step that comes next and the best score so far."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    before = json.loads(state["about"])
    changed = sorted(name for name in {*before, *about} if before.get(name) != about.get(name))
    if changed:
        raise SettingsError(f"{file.parent} holds a run with other settings ({', '.join(changed)}); name another folder")
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), float(state["best"])


def _log(file: Path, row: Mapping[str, Any], columns: list[str]) -> None:
    new = not file.exists()
    with open(file, "a", newline="") as opened:
        writer = csv.DictWriter(opened, columns, extrasaction="ignore")
        if new:
            writer.writeheader()
        writer.writerow(row)
