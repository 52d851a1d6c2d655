"""What the QEMU driver can be ordered to do: a file for each family of :mod:`aiovirt.model.orders`."""
