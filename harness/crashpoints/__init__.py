"""Learn what a call does, enumerate its crash points, replay each from a clean slate, judge what it led to.

Knows nothing of EMCO: what is special about the system under test comes in as values (`Profile`, `Subject`) and
through the `Lab` protocol.
"""
