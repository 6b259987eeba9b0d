"""emco-chaos: finds, at every write of every mutating API call, what a crash leaves behind.

The layers and what each may know of the others: docs/architecture.md.
"""
