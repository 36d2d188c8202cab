package bench

import "syscall"

// childAttr lets a child die with its parent, so that no load outlives it.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// masterAttr is childAttr for a program with children of its own, which it is to end first.
func masterAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
