"""The command line: parses, calls, prints. Everything slow is imported when a command runs, so that `--help` answers at once.

Exit status: 0 all done; 1 some photos could not be used; 2 nothing could be done (usage, settings, gallery, weights, disk);
130 interrupted.
"""

from .main import app, main

__all__ = ["app", "main"]
