"""Generated input of many kinds.

None may end in a traceback, hang, take gigabytes, or be accepted though it is nonsense.
"""
