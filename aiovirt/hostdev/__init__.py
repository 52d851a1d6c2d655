"""This host's devices: what the kernel tells, folded into an inventory. Its Linux half is imported on use."""
