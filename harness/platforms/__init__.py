"""Where EMCO runs. `process`: OS processes on loopback addresses, in a network namespace of their own where possible."""
