"""The verbs, a file for each group of virsh's manual, and ``own`` for those that virsh does not have.

A file here is imported only when a verb of its group is named, or all of them are listed. To add a verb is to add one function to
the file of its group.
"""
