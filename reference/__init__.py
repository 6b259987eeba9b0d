"""The reference EMCO: small services that speak EMCO's REST and gRPC and write what EMCO writes.

Imports nothing of the harness, and the harness nothing of it: they must not share a mistake.
"""
