#!/usr/bin/env bash
# One would guess: msgspec.structs.replace() runs __post_init__ on what it makes, as dataclasses.replace() does, so a Struct that checks
# itself there cannot be made wrong by it.
# What happens: msgspec 0.20.0 does not run it, 0.21.0 does.
# Why it matters: a guest's description that is checked when it is read (memory above 0, one boot disk) is commonly changed by replace().
# With the older release, which "msgspec>=0.18" allows, the changed one is never checked.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/run.py" <<'PYTHON'
import msgspec

class Guest(msgspec.Struct):
    memory: int

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise ValueError("memory below 0")

try:
    print(msgspec.structs.replace(Guest(1), memory=-1))
except ValueError as problem:
    print(problem)
PYTHON

seen=
for msgspec in 0.20.0 0.21.0; do
    python3 -m venv --clear "$folder/venv"
    "$folder/venv/bin/pip" install --quiet msgspec==$msgspec 2>/dev/null
    answer=$(timeout 60 "$folder/venv/bin/python" "$folder/run.py")
    echo "msgspec $msgspec: $answer"
    seen+="$answer, "
done
[ "$seen" = "Guest(memory=-1), memory below 0, " ]
