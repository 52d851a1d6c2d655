#!/usr/bin/env bash
# One would guess: anyio.run(main, backend="trio", backend_options={"clock": MockClock(...)}) runs main in virtual time, and an unknown
# option is an error: that is what happens with trio.run, and in tests under anyio's pytest plugin.
# What happens (anyio 4.0.0 to 4.13.0, trio 0.32.0): the options are dropped without a word, whatever they are. main sleeps in real time
# on the system's clock. anyio 4.14.0 hands them on.
# Why it matters: a simulation of a night of timeouts and retries of a fleet of guests takes that night (it looks like a hang), and the
# other options, such as instruments that watch for a blocked loop, were never there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/run.py" <<'PYTHON'
import anyio, trio
from trio.testing import MockClock

def main_with(**options: object) -> str:
    async def main() -> str:
        return type(trio.lowlevel.current_clock()).__name__
    try:
        return anyio.run(main, backend="trio", backend_options=options)
    except TypeError:
        return "TypeError"

print(main_with(clock=MockClock(autojump_threshold=0)), main_with(no_such_option=1))
PYTHON

seen=
for anyio in 4.13.0 4.14.0; do
    python3 -m venv --clear "$folder/venv"
    "$folder/venv/bin/pip" install --quiet anyio==$anyio trio==0.32.0 2>/dev/null
    answer=$(timeout 60 "$folder/venv/bin/python" "$folder/run.py")
    echo "anyio $anyio: clock and unknown option: $answer"
    seen+="$answer, "
done
[ "$seen" = "SystemClock SystemClock, MockClock TypeError, " ]
