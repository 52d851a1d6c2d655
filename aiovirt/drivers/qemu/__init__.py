"""QEMU: processes that outlive us, spoken to over QMP. Linux only; imported on use."""
