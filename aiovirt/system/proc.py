"""What /proc says of a process. Loads nothing that takes long, and blocks for a moment."""

from __future__ import annotations

from pathlib import Path

__all__ = ["is_stopped", "stat_of", "uid_of"]


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command's name, which may itself have spaces and parentheses. Raises OSError."""
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return stat[stat.rindex(")") + 2 :].split()


def uid_of(pid: int) -> int:
    """Whose process it is: its effective uid (proc_pid_status(5)). Raises OSError."""
    with open(f"/proc/{pid}/status", errors="replace") as status:
        words = next(line for line in status if line.startswith("Uid:")).split()
    return int(words[2])


def is_stopped(pid: int) -> bool:
    """Whether it was stopped by a signal, or by a debugger (proc_pid_stat(5))."""
    try:
        return stat_of(pid)[0] in {"T", "t"}
    except OSError:
        return False
