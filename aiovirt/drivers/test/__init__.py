"""``test:///default``: a hypervisor in memory. No root, no QEMU, no Linux; the same states, events and errors."""
