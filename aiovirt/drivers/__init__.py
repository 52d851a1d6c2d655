"""Hypervisors, one folder each, independent of each other, behind the same doors (:mod:`aiovirt.drivers.door`)."""
