"""What EMCO is: services and ports, workloads, records, AppContext keys, when it is quiet, how a call is undone.

Sources of the facts: EMCO's public source of about release 22.09, and what its services did when run.
"""
