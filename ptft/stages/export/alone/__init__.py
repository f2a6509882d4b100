"""Scripts that a process runs by path, without ptft: what somebody gets who has the folder and its runtime alone."""
