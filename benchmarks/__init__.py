"""What things cost, each beside its contenders: ``python -m benchmarks.bench_…``. Nothing of it is installed."""

from __future__ import annotations

__all__: list[str] = []
