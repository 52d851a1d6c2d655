"""``python -m aiovirt``."""

from __future__ import annotations

import sys

from aiovirt.cli.main import main

sys.exit(main())
