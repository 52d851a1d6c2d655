"""What is said: sans-IO protocols. Bytes in, values out, and back; no socket, no clock, no task."""
