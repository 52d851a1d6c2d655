"""The one room that touches the operating system and knows which backend runs.

Sockets, processes, files, sysfs, netlink, and the block that background tasks live in. What is
said over them lives in :mod:`aiovirt.wire`; what it means lives above.
"""
