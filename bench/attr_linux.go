package bench

import "syscall"

// childAttr lets a child die with its parent, so that no load outlives it.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
