"""The reference EMCO: four small services that answer, write and fail as EMCO does, for trying the harness on.

`orchestrator`, `clm`, `dcm` and `rsync` speak EMCO's REST and gRPC, keep their records in mongo and their run-time
state in etcd over the real wire protocols, and make the effects that were recorded on the real services, in the same
order.
They were written from those recordings and from the behaviour that is documented, not from EMCO's source.

Every known defect is a switch (`reference.defects`). With all of them on the services behave as EMCO does; with all of
them off every call is crash-consistent. Nothing here imports the harness, and the harness imports nothing of this.
"""
