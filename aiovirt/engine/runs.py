"""The runs of domains, as they are kept on disk: one record for each guest."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from aiovirt.engine.domains import DOMAIN
from aiovirt.engine.runfiles import RunFiles
from aiovirt.errors import Error
from aiovirt.model.record import RECORD_VERSION, RunRecord
from aiovirt.model.spec import DomainSpec
from aiovirt.system.log import get_logger

__all__ = ["LoadedRun", "loaded_run", "run_files"]

log = get_logger("engine")


class LoadedRun(Struct, frozen=True):
    """A record and what its XML says; ``is_partial`` where a newer version wrote it and only a part of that can be read."""

    run: RunRecord
    spec: DomainSpec
    is_partial: bool = False


def run_files(folder: Path) -> RunFiles[RunRecord]:
    """Those in ``folder``."""
    return RunFiles(folder, RunRecord, version=RECORD_VERSION, what=DOMAIN.name)


def loaded_run(run: RunRecord) -> LoadedRun:
    """What its record says of a guest, for :meth:`RunFiles.load`; raises XMLInvalid where nothing says which guest it is."""
    from aiovirt.libvirtxml import parse, parse_partly

    try:
        return LoadedRun(run, parse(run.xml))
    except Error as error:
        spec = parse_partly(run.xml)
        log.warning("a guest runs with more than this version knows", domain=run.name, why=str(error))
        return LoadedRun(run, spec, is_partial=True)
