"""What runs in the processes of a cluster: Ray makes actors of it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import EngineError
from ..listener import EAR

PATIENCE = 30.0  # seconds after which a file that another machine has written is not going to appear


class Worker:
    """Holds what it was asked for last, networks and all, and does one shard after another."""

    def __init__(self) -> None:
        self._task: Any = None
        self._work: Callable[[Sequence[Any]], Any] | None = None

    def hello(self, here: str, sign: str) -> tuple[str, int]:
        """The name of its machine and its own number. Relative paths are those of the process that asks, in `here`; `sign` is a file that
        it has written where everything is stored. Raises EngineError where they are not to be seen."""
        machine = platform.node()
        try:
            os.chdir(here)
        except OSError as error:
            raise EngineError(f"{machine} does not see {here} ({error.strerror}); run reid in a folder that every machine sees") from None
        since = time.monotonic()
        while not os.path.exists(sign):
            if time.monotonic() - since > PATIENCE:
                where = os.path.dirname(os.path.dirname(sign))
                raise EngineError(
                    f"{machine} does not see what is written in {where} here; put the gallery and --cache on a file system that every "
                    "machine sees under the same path"
                )
            time.sleep(0.5)
        return machine, os.getpid()

    def do(self, task: Sequence[Any], items: Sequence[Any]) -> tuple[list[Any], list[str]]:
        """The results of a shard, and what was noted. `task` holds a reference to the work."""
        if task[0] != self._task:
            import ray
            import ray.exceptions

            self._task, self._work = None, None
            try:
                self._work, self._task = ray.get(task[0]), task[0]
            except ray.exceptions.RaySystemError as error:  # in which Ray hides why the work cannot be done here
                raise error.client_exc from None
        assert self._work is not None
        return list(self._work(items)), EAR.heard()
