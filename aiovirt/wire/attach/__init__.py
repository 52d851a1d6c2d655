"""What an engine and the processes attached to it say to each other: frames of bytes, and the messages in them. No I/O."""

from aiovirt.wire.attach.frames import Frames, TooLongError, framed
from aiovirt.wire.attach.messages import VERSION

__all__ = ["VERSION", "Frames", "TooLongError", "framed"]
