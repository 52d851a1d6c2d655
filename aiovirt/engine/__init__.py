"""The engine: orders go down through it, events come up, and it alone decides what a state is.

``connect``, ``Host`` and ``Domain`` are what users hold; :mod:`aiovirt.engine.abc` is the door at
which an attached process will stand in for the engine in this one.
"""
