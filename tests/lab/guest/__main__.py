"""Runs a command in the lab guest, in this checkout.

    python -m tests.lab.guest [--limit SECONDS] COMMAND…

The command's exit status is ours; 125 when it came to none, which is then explained.
"""

from __future__ import annotations

import sys

from tests.lab.guest.boot import LIMIT, run


def main(arguments: list[str]) -> int:
    """The command line described above."""
    limit = LIMIT
    if arguments[:1] == ["--limit"] and len(arguments) > 1:
        limit, arguments = float(arguments[1]), arguments[2:]
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    return run(arguments, limit=limit)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
