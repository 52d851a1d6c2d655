#!/usr/bin/env bash
# One would guess: a member of type `Raw | None` keeps whatever JSON is there for later, and None where there is null.
# What happens (msgspec 0.22.0, 0.20.0): in a union Raw counts for nothing. Anything but null is refused: "Expected `null`, got `int`".
# A plain `Raw` with the default Raw() takes everything, null too.
# Why it matters: this is how one types an envelope whose body is decoded later by who knows its kind, such as QMP's "return" and "data",
# or a libvirt agent's answer. The type checkers are content with it, and so are all tests in which the member is missing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet msgspec==0.22.0 2>/dev/null
timeout 60 "$folder/venv/bin/python" - <<'PYTHON'
import msgspec
from msgspec import Raw, Struct

class Optional(Struct):
    data: Raw | None = None

class Plain(Struct):
    data: Raw = Raw()

def decoded(kind: type[Struct], text: bytes) -> str:
    try:
        data = msgspec.json.decode(text, type=kind).data
    except msgspec.ValidationError as problem:
        return str(problem)
    return repr(data if data is None else bytes(data))

print("msgspec", msgspec.__version__)
seen = {}
for kind in (Optional, Plain):
    for text in (b'{"data": 1}', b'{"data": null}', b"{}"):
        seen[kind.__name__, text] = decoded(kind, text)
        print(kind.__name__, text.decode(), "->", seen[kind.__name__, text])
raise SystemExit(list(seen.values()) != ["Expected `null`, got `int` - at `$.data`", "None", "None", "b'1'", "b'null'", "b''"])
PYTHON
