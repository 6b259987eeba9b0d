"""What goes over the wire between services, stores and edges: decoders without I/O, and the relay that drives them.

Knows nothing of EMCO.
"""
