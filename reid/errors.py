"""One error tree: what a user can cause or fix. Each message is one line that says what to do.

ReidError
|- SettingsError(ValueError)        a setting, option or TOML file that cannot be used
|- PhotoError(OSError)              a photo that cannot be read
|- GalleryError(ValueError)         a gallery, metadata table or box file that cannot be used
|- DecisionError(ValueError)        a decision that says nothing, or that contradicts what was decided before
|- AlignmentError(ValueError)       two photos that nothing aligns
|- StoreError(OSError)              features or other results that cannot be written or read
|- EngineError(RuntimeError)        a cluster that is not there, or whose workers die
`- WeightsError(OSError)            a network's weights that are missing, damaged or cannot be fetched
"""


class ReidError(Exception):
    """Anything that the user of reid can fix; the command line prints it as one line, without a traceback."""


class SettingsError(ReidError, ValueError):
    """A setting that cannot be used; the message names what can."""


class PhotoError(ReidError, OSError):
    """A photo that cannot be read or is too small or too large to work on."""


class GalleryError(ReidError, ValueError):
    """A gallery that cannot be used. `problems` lists every one of them, in the order of the table; `notes` what else was found."""

    def __init__(self, message: str, problems: tuple[str, ...] = (), notes: tuple[str, ...] = ()):
        super().__init__(message)
        self.problems, self.notes = problems, notes


class DecisionError(ReidError, ValueError):
    """A decision that cannot be taken; the message says why."""


class AlignmentError(ReidError, ValueError):
    """Two photos that show nothing in common that one motion explains."""


class StoreError(ReidError, OSError):
    """A stored file that cannot be written (disk full, no permission) or read."""


class EngineError(ReidError, RuntimeError):
    """A cluster that cannot be reached, has no room, or whose workers die one after another."""


class WeightsError(ReidError, OSError):
    """Weights that are not on this machine, or not the ones they should be."""
