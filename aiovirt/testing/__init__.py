"""The public test kit: virtual clocks, a scripted QMP peer, and hands on ``test:///default``.

Only tests import it; it may name backends.
"""

from __future__ import annotations

from aiovirt.testing.control import Control, control

__all__ = ["Control", "control"]
