"""Traffic through the engine's own scheduler, with a clock that the performance model drives.

Pure: chance comes from seeds that are arguments, and equal arguments give equal bytes.
"""
