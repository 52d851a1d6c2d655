"""A definition in two files: as it was written, which is its writer's, and as it was filled in, which is ours.

``NAME.xml`` has the very text that was given or edited, with its comments. ``filled/NAME.xml`` has all that the object is,
also what the text leaves open (its uuid), and the digest of the text that it was made of: one that was edited meanwhile
is filled in anew, and stays the same object. Files of version 1 had no second form. Blocks: for threads.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container
from enum import IntEnum
from pathlib import Path
from typing import Final, Generic, TypeVar
from uuid import UUID, uuid4

from msgspec import Struct

from aiovirt.engine.kind import ObjectKind, Spec, with_uuid
from aiovirt.engine.paths import FILLED
from aiovirt.errors import Error, SystemFailure
from aiovirt.system import files

__all__ = ["DEFINITION_VERSION", "Definition", "Named", "digest_of", "drop_filled", "read_definition", "text_to_keep", "write_filled"]

DEFINITION_VERSION: Final = 2
LIMIT: Final = 4 * 1024 * 1024

S = TypeVar("S", bound=Spec)

_HEAD: Final = re.compile(rb"<!-- aiovirt definition (\d{1,9}), made of ([0-9a-f]{64})")


class Named(IntEnum):
    """What says which object it is: the text itself, what was filled in before, or nothing yet."""

    BY_TEXT = 0
    BEFORE = 1
    NOW = 2


class Definition(Struct, Generic[S], frozen=True):
    """What an object is defined as; ``digest`` is of the text, ``is_new`` says that this text was not filled in before."""

    spec: S
    digest: str
    is_new: bool = True
    named: Named = Named.BY_TEXT

    @property
    def rank(self) -> tuple[bool, Named]:
        """Of two with one uuid, whose it is: his who had it, then his who says so."""
        return self.is_new, self.named


def digest_of(text: bytes) -> str:
    """Which text it is."""
    return hashlib.sha256(text).hexdigest()


def text_to_keep(kind: ObjectKind[S], xml: str, spec: S) -> bytes:
    """``xml`` as a file: as it was given, save where it says that it is in an encoding that a file of ours would not be in."""
    text = xml.encode()
    if not xml.startswith("<?xml"):
        return text
    try:
        says_the_same = with_uuid(kind.parse(text), spec.uuid) == spec
    except Error:
        says_the_same = False
    return text if says_the_same else kind.render(spec).encode()


def read_definition(kind: ObjectKind[S], path: Path, others: Container[UUID] = ()) -> Definition[S] | None:
    """The definition at ``path``, filled in; None where there is none. Of ``others`` it takes no uuid that it does not say itself.

    Raises XMLInvalid and ConfigUnsupported for its text; SystemFailure where it is no definition of this name, or the other
    form is of a newer version.
    """
    text = _read(path)
    if text is None:
        return None
    digest = digest_of(text)
    before = _read_filled(kind, _filled(path))
    if before is not None and before.digest == digest and before.spec.name == path.stem:
        return before
    spec = kind.parse(text)
    if spec.name != path.stem:
        raise SystemFailure(f"{path}: it must have the name {path.stem!r}")
    if spec.uuid:
        return Definition(spec, digest)
    known = before.spec.uuid if before is not None else None
    if known is not None and known not in others:
        return Definition(with_uuid(spec, known), digest, named=Named.BEFORE)
    return Definition(with_uuid(spec, uuid4()), digest, named=Named.NOW)


def write_filled(kind: ObjectKind[S], path: Path, definition: Definition[S]) -> None:
    """Puts the other form of what is, or is going to be, at ``path`` on disk; raises OSError."""
    files.write_whole(_filled(path), _filled_text(kind, definition))


def drop_filled(path: Path) -> None:
    """Takes the other form of what was at ``path`` away; raises OSError."""
    files.remove(_filled(path))


def _filled(path: Path) -> Path:
    return path.parent / FILLED / path.name


def _filled_text(kind: ObjectKind[S], definition: Definition[S]) -> bytes:
    head = f"<!-- aiovirt definition {DEFINITION_VERSION}, made of {definition.digest}."
    advice = "     To change it, edit the file of this name one folder up. -->"
    return "\n".join([head, advice, kind.render(definition.spec)]).encode()


def _read_filled(kind: ObjectKind[S], path: Path) -> Definition[S] | None:
    """What was filled in before; None where there is nothing of use."""
    data = _read(path)
    head = _HEAD.match(data or b"")
    if data is None or head is None:
        return None
    if int(head[1]) > DEFINITION_VERSION:
        raise SystemFailure(f"{path}: its version {int(head[1])} is newer than {DEFINITION_VERSION}")
    try:
        spec = kind.parse(data)
    except Error:
        return None  # it can be made again
    return Definition(spec, head[2].decode(), is_new=False, named=Named.BEFORE) if spec.uuid else None


def _read(path: Path) -> bytes | None:
    try:
        return files.read_bounded(path, LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SystemFailure(f"{path}: {error.strerror}") from error
