package workers

// share is the part of the CPUs that a worker runs on: with more CPUs than workers each has several of its
// own, else as many workers share each. Where that does not come out even it is empty, for any: a worker
// that had a CPU to itself would be full when those that share one are not.
func share(cpus []int, worker, workers int) (own []int) {
	if len(cpus) == 0 || workers > len(cpus) && workers%len(cpus) != 0 {
		return nil
	}
	if workers >= len(cpus) {
		return []int{cpus[worker%len(cpus)]}
	}
	for i := worker; i < len(cpus); i += workers {
		own = append(own, cpus[i])
	}
	return own
}

// Place is where in bpf/steer's table a listener belongs: the K-th of a CPU.
type Place struct{ CPU, K, Listener int }

// places are those of a worker's listeners, given the CPUs of all; none if it has no share of them. width
// is how many listeners a CPU has at most. A CPU whose worker has fewer listeners than CPUs may have none.
func places(cpus []int, worker, workers int, listeners []int) (all []Place, width int) {
	own := share(cpus, worker, workers)
	if len(own) == 0 || len(listeners) == 0 {
		return nil, 0
	}
	rows := (workers + len(cpus) - 1) / len(cpus)     // workers of a CPU
	per := (len(listeners) + len(own) - 1) / len(own) // listeners of one of them
	if workers < len(cpus) {
		// Of workers with as many listeners but fewer CPUs it is more.
		least := len(cpus) / workers
		width = (len(listeners) + least - 1) / least
	} else {
		width = rows * per
	}
	for i, l := range listeners {
		all = append(all, Place{CPU: own[i%len(own)], K: worker/len(cpus)*per + i/len(own), Listener: l})
	}
	return all, width
}
