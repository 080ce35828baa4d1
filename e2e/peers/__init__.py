"""Our engine and others' on this machine, in turns: the same requests, the same minutes."""
