"""mongo and etcd: connect, snapshot, restore, canonical form, difference. Knows nothing of EMCO."""
