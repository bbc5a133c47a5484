"""Where memory ends in training: the GPU's, the machine's, or that which processes share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from seg_perception.errors import SegPerceptionError, quoted

OF_A_WORKER = "DataLoader worker"
"""How torch's sentence of a process that ended begins; it comes wherever the program is then."""
_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
"""What torch's errors say, whose classes differ by version and device."""


@contextmanager
def told_where_memory_ends() -> Iterator[None]:
    """Raises SegPerceptionError in place of what torch and NumPy raise where there is no more memory, and where a process that
    loads images was ended, which the system does then."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error)
        cause = quoted(" ".join(said.split()), 200)
        if said.startswith(OF_A_WORKER):
            raise SegPerceptionError(
                f"a process that loads images ended, as where memory is too small ({cause}): set workers or cache_gb lower, "
                "and --resume; a container needs --shm-size 1g or more"
            ) from error
        if isinstance(error, MemoryError) or any(words in said for words in _OF_MEMORY):
            raise SegPerceptionError(
                f"memory is too small for this training ({cause}): set batch_size, crop_hw or cache_gb lower, and --resume"
            ) from error
        raise
