"""``edit``: a domain's definition in the user's editor, asked again while it is wrong. What was typed is never lost."""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from pathlib import Path
from typing import Final

from aiovirt import Domain, Host
from aiovirt.cli.domains import as_text, find, tell, timeout_of
from aiovirt.cli.output import Output
from aiovirt.cli.terminal import ask, complain
from aiovirt.errors import Error, InvalidArgument, OperationFailed, SystemFailure
from aiovirt.model.words import MAX_XML_BYTES
from aiovirt.system import to_thread
from aiovirt.system.foreground import run_in_foreground
from aiovirt.system.readiness import read_path

__all__ = ["edit", "editor_of"]

_MEANINGS: Final = {
    "y": "yes, start editor again",
    "n": "no, throw away my changes",
    "i": "turn off validation and try to redefine again",
    "f": "force, try to redefine again",
    "?": "print this help",
}


async def edit(host: Host, args: argparse.Namespace, out: Output) -> None:
    """Edits what it will start with next; ``--timeout`` counts for each order, and not while the editor runs.

    What libvirt does not know is refused unless it is skipped to validate, with ``--skip-validate`` or by the answer ``i``.
    """
    timeout = timeout_of(args)
    domain = find(host, args.domain)
    name, before = domain.name, await domain.xml(inactive=True, timeout=timeout)
    file = await to_thread.run_sync(_kept, before)
    try:
        is_edited = await _Session(host, domain, before, file, timeout, validate=not args.skip_validate).run()
    except BaseException:
        complain(f"note: the edited XML is kept in {file}")
        raise
    await to_thread.run_sync(file.unlink)
    if is_edited is None:
        raise OperationFailed("the changes are thrown away")
    if is_edited:
        tell(out, {"name": name, "uuid": domain.uuid}, "edited", f"Domain '{name}' XML configuration edited.")
    else:
        tell(out, {"name": name, "uuid": domain.uuid}, "not changed", f"Domain '{name}' XML configuration not changed.")


def editor_of(environment: dict[str, str]) -> list[str]:
    """$VISUAL, $EDITOR, else vi: words as a shell splits them, and no shell. Raises InvalidArgument."""
    given = environment.get("VISUAL") or environment.get("EDITOR") or "vi"
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise InvalidArgument(f"$EDITOR {given!r} is no command: {error}") from error
    if not words:
        raise InvalidArgument(f"$EDITOR {given!r} is no command")
    return words


def _kept(xml: str) -> Path:
    """A file of mode 0600 with ``xml``."""
    try:
        handle, path = tempfile.mkstemp(prefix="aiovirt-", suffix=".xml")
        os.close(handle)
        Path(path).write_text(xml, encoding="utf-8")
    except OSError as error:
        raise SystemFailure(f"cannot make a file to edit: {error.strerror}") from error
    return Path(path)


class _Session:
    """One edit, from the first look to the last."""

    def __init__(self, host: Host, domain: Domain, before: str, file: Path, timeout: float, *, validate: bool) -> None:  # noqa: PLR0913
        self._host, self._domain, self._before, self._file, self._timeout = host, domain, before, file, timeout
        self._validate = validate

    async def run(self) -> bool | None:
        """Whether it is defined anew: False where nothing was changed, None where the changes are to be thrown away."""
        editor, answer = editor_of(dict(os.environ)), "y"
        while True:
            if answer == "y":
                status = await run_in_foreground([*editor, str(self._file)])
                if status:
                    raise OperationFailed(f"the editor {editor[0]!r} ended with status {status}")
            try:
                return await self._take(force=answer == "f")
            except Error as error:
                complain(f"error: {error}")
                answer = await self._ask(error)
            if answer == "n":
                return None
            self._validate = self._validate and answer != "i"

    async def _take(self, *, force: bool) -> bool:
        text = as_text(await read_path(str(self._file), MAX_XML_BYTES), str(self._file))
        if text == self._before:
            return False
        if not force and await self._domain.xml(inactive=True, timeout=self._timeout) != self._before:
            raise OperationFailed("The XML configuration was changed by another user.")
        await self._host.define(text, validate=self._validate, timeout=self._timeout)
        return True

    async def _ask(self, error: Error) -> str:
        """y, n, i or f; raises ``error`` where nobody can be asked. i is no answer where nothing is validated any more."""
        meanings = {letter: meaning for letter, meaning in _MEANINGS.items() if letter != "i" or self._validate}
        while True:
            answer = await ask(f"Failed. Try again? [{','.join(meanings)}]:")
            if answer is None:
                raise error
            if answer in meanings and answer != "?":
                return answer
            for letter, meaning in meanings.items():
                complain(f"{letter} - {meaning}")
