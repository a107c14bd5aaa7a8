"""`kill -9` at a random moment, and once more as it goes on."""

from __future__ import annotations

import random
import signal

from world import COMMANDS, Runs, World


def kills(world: World, rng: random.Random, runs: int) -> Runs:
    """`kill -9` at a random moment of each command, and once more as it goes on; then everything is as if nothing had happened."""
    for number in range(runs):
        command = COMMANDS[number % len(COMMANDS)]
        store = world.copy(world.before[command], "killed")
        moments = [rng.uniform(0, world.seconds[command]) for _ in range(2)]
        ended = [world.reid(command, store, kill=moment).status for moment in moments]
        wrong = [f"{command} killed after {moments} s: {one}" for one in world.goes_on(store, command)]
        yield f"{command}: {'killed' if -signal.SIGKILL in ended else 'done before'}", wrong
