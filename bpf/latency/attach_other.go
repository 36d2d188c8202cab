//go:build !linux

package latency

import (
	"errors"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

func attachSockOps(*ebpf.Program) (link.Link, error) { return nil, errors.ErrUnsupported }

func (*Tracer) attachGo(string, []int) error { return errors.ErrUnsupported }

func tickOfKernel() time.Duration { return 0 }
