"""Where EMCO runs. `process`: OS processes on loopback, in a network namespace of their own where possible."""
