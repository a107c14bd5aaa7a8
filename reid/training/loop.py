"""The loop that every network is trained by: steps, validation, checkpoints, a log. It can be killed at any time and goes on where it was.

A step's photos, warps and noise depend on the seed and its number alone, so a run that was interrupted ends, on a processor bit for bit,
with the weights that it would have had. On a GPU some gradients are summed in no fixed order, so that last digits differ.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..errors import SettingsError
from ..store import write_atomically

AHEAD = 4  # batches prepared while the network works
CONSTANT = 8 / 18  # share of the steps at full rate (arXiv 2006.01030: 8 epochs of 18)
Forward = Callable[..., Any]  # the network, in the run's precision, its outputs in float32
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
    precision: str = "full"  # "fast": convolutions and products in bfloat16


@dataclass(frozen=True)
class Task:
    """What is trained: its network, how a pair is made, its loss, and how good it is on pairs that it does not learn from."""

    name: str
    network: nn.Module
    pair: Callable[[int], Any]  # of this number
    loss: Callable[[Forward, list[Any], torch.Generator], Mapping[str, Tensor]]  # of the network's outputs; "loss" is minimised
    validate: Callable[[], Mapping[str, float]]  # of the network as it is; "score" is maximised
    about: Mapping[str, Any]  # settings that a resumed run must share
    card: Mapping[str, Any] = field(default_factory=dict)  # what the file of weights says beside the settings
    before: Callable[[float], None] = lambda share: None  # called before each step with the share of the run that is done
    folder: str = ""  # of its files, in the run's
    saved: Callable[[], Mapping[str, Tensor]] | None = None  # the weights that are left behind, where not the network's own
    patience: int = 0  # validations in a row without better weights, after which it ends; 0: it goes on


def learning_rate(step: int, plan: Plan) -> float:
    """Constant, then falling by the same factor each step."""
    past = max(0.0, step / plan.steps - CONSTANT) / (1 - CONSTANT)
    return plan.rate * math.exp(past * math.log(LEAST_RATE))


def in_precision(network: nn.Module, plan: Plan) -> Forward:
    """The network as it computes in this run, its outputs in float32."""

    def forward(*inputs: Tensor) -> Any:
        with torch.autocast(torch.device(plan.device).type, torch.bfloat16, enabled=plan.precision == "fast"):
            found = network(*inputs)
        return tree_map(Tensor.float, found)

    return forward


def train(
    task: Task, plan: Plan, out: Path, resume: bool, progress: Callable[[int, int], None], note: Callable[[str], None] = lambda text: None
) -> tuple[Path, dict[str, float]]:
    """Train `task`; returns the file of its best weights, `out`/NAME.safetensors, and how good they are on photos held out.

    `progress(step, steps)` is called after each step, `note` gets a line a validation. Raises SettingsError for a folder that
    holds another run, and for a rate at which the loss runs away."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, best_file = out / "checkpoint.pt", out / f"{task.name}.safetensors"
    if checkpoint.exists() and not resume:
        raise SettingsError(f"{out} holds a run already; go on with it by --resume, or name another folder")
    device = torch.device(plan.device)
    network = task.network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.rate, weight_decay=plan.decay)
    length = {name: value for name, value in asdict(plan).items() if name not in ("device", "every")}
    about = {"network": task.name} | length | dict(task.about)
    done, best = 0, {"score": -math.inf}
    if checkpoint.exists():
        done, best = _restore(checkpoint, network, optimiser, about)

    def judged(step: int, row: Mapping[str, Any]) -> None:
        """Validate, log, keep the weights if they are the best so far, and a checkpoint."""
        nonlocal best
        network.eval()
        with torch.inference_mode():
            found = dict(task.validate())
        _log(out / "log.csv", {"step": step} | dict(row) | {f"val_{name}": round(value, 6) for name, value in found.items()})
        better = found["score"] > best["score"]
        if better:
            best = found | {"step": step}
            state = {name: value.detach().cpu().contiguous() for name, value in (task.saved or network.state_dict)().items()}
            write_atomically(best_file, save(state, metadata={"card": json.dumps(about | dict(task.card) | best)}))
        _store(checkpoint, network, optimiser, step, best, about)
        note(f"step {step}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()) + (", the best so far" if better else ""))

    def is_over(step: int) -> bool:
        return bool(task.patience) and step - best["step"] >= task.patience * plan.every

    forward = in_precision(network, plan)
    if not done:
        judged(0, {})
    with ThreadPoolExecutor(1) as pool:

        def batch(step: int) -> list[Any]:
            return [task.pair(step * plan.batch + i) for i in range(plan.batch)]

        waiting = {step: pool.submit(batch, step) for step in range(done, min(done + AHEAD, plan.steps))}
        sums: dict[str, float] = {}
        started, since = time.monotonic(), done
        try:
            for step in range(done, done if is_over(done) else plan.steps):
                if step + AHEAD < plan.steps:
                    waiting[step + AHEAD] = pool.submit(batch, step + AHEAD)
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(step, plan)
                network.train()
                task.before(step / plan.steps)
                generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
                parts = task.loss(forward, waiting.pop(step).result(), generator)
                optimiser.zero_grad(set_to_none=True)
                parts["loss"].backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                figures = {name: float(value.detach()) for name, value in parts.items()}
                if not math.isfinite(figures["loss"]):
                    raise SettingsError(f"the loss is {figures['loss']} at step {step}; start again with a smaller --rate")
                sums = {name: sums.get(name, 0.0) + value for name, value in figures.items()}
                progress(step + 1, plan.steps)
                if (step + 1) % plan.every == 0 or step + 1 == plan.steps:
                    n = step + 1 - since
                    means = {name: round(value / n, 6) for name, value in sums.items()}
                    judged(step + 1, {"seconds": round(time.monotonic() - started, 1), "rate": learning_rate(step, plan)} | means)
                    sums, since = {}, step + 1
                    if is_over(step + 1):
                        note(f"nothing better since step {best['step']}: the run ends")
                        break
        finally:
            pool.shutdown(cancel_futures=True)
    return best_file, best


def _store(
    file: Path, network: nn.Module, optimiser: torch.optim.Optimizer, step: int, best: Mapping[str, float], about: Mapping[str, Any]
) -> None:
    data = io.BytesIO()
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "best": dict(best)}
    torch.save(state | {"about": json.dumps(about)}, data)
    write_atomically(file, data.getvalue())


def _restore(file: Path, network: nn.Module, optimiser: torch.optim.Optimizer, about: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """The step that comes next and how good the best weights so far are."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    before = json.loads(state["about"])
    changed = sorted(name for name in {*before, *about} if before.get(name) != about.get(name))
    if changed:
        raise SettingsError(f"{file.parent} holds a run with other settings ({', '.join(changed)}); name another folder")
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"]), dict(state["best"])


def _log(file: Path, row: Mapping[str, Any]) -> None:
    """Append a row. The row before the first step has no losses: the file's columns are those of the rows after it."""
    before = list(csv.DictReader(file.read_text().splitlines())) if file.exists() else []
    rows = [*(old for old in before if int(old["step"]) < row["step"]), row]  # a run that was killed may have logged what it repeats
    columns = list(dict.fromkeys(name for one in reversed(rows) for name in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue().encode())
