"""Edge clusters behind one seam, `edge.Edge`: the emulator, API servers of the run's own, running clusters.

`access` reads and writes kubeconfigs, `client` asks an API server, `objects` says what of a cluster counts and how it
is put back, `controllers` does what a cluster's controllers and EMCO's monitor would do, `api_edge` puts these
together, `authority` makes certificates, `api_server` says how kube-apiserver and its etcd are started, `running`
guards clusters that are not the run's own, `audit` reads an API server's log of requests.
"""
