"""EMCO as OS processes on loopback addresses: the embedded default, and real binaries in the same places."""
