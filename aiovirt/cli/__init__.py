"""The command line: virsh's verbs and spelling over the public API. Nothing here knows how a thing is done."""
