"""The lab guest: a virtual machine that boots this machine's own files, to plug real PCI devices into."""
