"""`edgebudget` as a process of its own: the command, and `python -m edgebudget`."""

import atexit
import gc
import os
import sys
from contextlib import suppress

YOUNG_OBJECTS = 2_500_000
"""How many are made before Python looks for cycles among them: importing torch makes 600,000, and all
of torchvision held against all profiles does not come to this many; nearly all of them stay."""


def program() -> None:
    """Run the command that this process was started with, and end the process with its exit code."""
    # By itself Python looks through the young every 700 objects, and ever so often through all that torch is made of.
    gc.set_threshold(YOUNG_OBJECTS)
    codes: list[int] = []
    if not atexit._ncallbacks():
        atexit.register(_leave, codes)
    from edgebudget.cli import main

    codes.append(main())
    sys.exit(codes[0])


def _leave(codes: list[int]) -> None:
    """End the process at once where its command has come to an end, and as ever where it has not.

    What is registered first is called last: threads have ended by then, and whatever else had to be done at the exit
    is done. What is left is to take apart all that torch is made of, which takes as long as some of its imports.
    """
    if codes:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(codes[0])


if __name__ == "__main__":
    program()
