// Package hoststats tells of the host beside a server what decides over the server's connections, read from /proc when Prometheus
// asks: full listen queues, TCP's memory, retransmits, softirq, connection tracking.
//
// node_exporter has most of it too, but of its own network namespace: a server in a container has counters of its own, which nobody
// else reads. What is of the host as a whole and not of its connections (CPUs, disks, devices) is left to node_exporter.
//
// What cannot be read is left out, and said by weir_host_source_readable: some of it is there in the host's own network namespace
// alone, or with a module of the kernel. On a system without such a /proc all of it is left out.
package hoststats
