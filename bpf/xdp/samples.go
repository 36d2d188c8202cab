package xdp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/ringbuf"
)

// Sample is a refused packet.
type Sample struct {
	// Nanos is when, nanoseconds of CLOCK_MONOTONIC.
	Nanos uint64
	// Missed are the packets refused for the same reason on the same CPU since its last sample,
	// that no sample was made of.
	Missed uint64
	Reason Reason
	// Spared says that it passed: the mode is shadow.
	Spared bool
	// Interface is its index, Queue the receive queue's.
	Interface, Queue int
	// Length is the packet's, bytes. Data are its first ones, at most 128; they are lent until the
	// callback returns.
	Length int
	Data   []byte
}

// Offsets within struct sample of bpf/include/abi.h, held to it by a test.
const (
	offSampleMissed   = 8
	offSampleIfindex  = 16
	offSampleLength   = 20
	offSampleCaptured = 24
	offSampleQueue    = 28
	offSampleReason   = 30
	offSampleAction   = 31
	offSampleData     = 32
	sampleBytes       = offSampleData + 128
)

// SampleReader reads samples of refused packets. Make it with [Program.Samples]; Read or Close ends
// the sampling.
type SampleReader struct {
	p    *Program
	ring *ringbuf.Reader
}

// Samples has the program make samples of refused packets, at most perSecond (1 to 255) of each
// reason on each CPU a second; what is above that is counted in Sample.Missed and Stats.NotSampled.
// One reader at a time: for a second one it is an error.
func (p *Program) Samples(perSecond int) (*SampleReader, error) {
	if perSecond < 1 || perSecond > 255 {
		return nil, fmt.Errorf("%d samples a second: want 1 to 255", perSecond)
	}
	ring, err := p.listen(uint8(perSecond))
	if err != nil {
		return nil, err
	}
	return &SampleReader{p, ring}, nil
}

// Read calls f for samples until ctx ends, and closes r. f is called from this goroutine.
func (r *SampleReader) Read(ctx context.Context, f func(Sample)) error {
	stop := context.AfterFunc(ctx, func() { _ = r.ring.Close() }) // the read below tells
	defer stop()
	var rec ringbuf.Record
	err := error(nil)
	for err == nil {
		if err = r.ring.ReadInto(&rec); err == nil {
			if s, ok := decodeSample(rec.RawSample); ok {
				f(s)
			}
		}
	}
	if errors.Is(err, ringbuf.ErrClosed) {
		err = nil
	}
	return errors.Join(err, r.Close())
}

// Close ends the sampling. Idempotent.
func (r *SampleReader) Close() error {
	err := r.p.deafen()
	if closed := r.ring.Close(); closed != nil && !errors.Is(closed, os.ErrClosed) {
		err = errors.Join(err, fmt.Errorf("close the samples: %w", closed))
	}
	return err
}

// listen opens the ring and has the program fill it.
func (p *Program) listen(perSecond uint8) (*ringbuf.Reader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.open("read samples"); err != nil {
		return nil, err
	}
	if p.policyWord().Samples != 0 && p.listening {
		return nil, errors.New("samples are read by somebody already: wait until that ends")
	}
	r, err := ringbuf.NewReader(p.objs.Samples)
	if err != nil {
		return nil, fmt.Errorf("read samples: %w", err)
	}
	next := p.policyWord()
	next.Samples = perSecond
	if err := p.writeWord(next); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	p.listening = true
	return r, nil
}

// deafen has the program make no more samples.
func (p *Program) deafen() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listening = false
	if p.closed {
		return nil
	}
	next := p.policyWord()
	next.Samples = 0
	return p.writeWord(next)
}

func decodeSample(raw []byte) (Sample, bool) {
	if len(raw) < sampleBytes {
		return Sample{}, false
	}
	le := binary.LittleEndian
	captured := min(le.Uint32(raw[offSampleCaptured:]), sampleBytes-offSampleData)
	return Sample{
		Nanos:     le.Uint64(raw),
		Missed:    le.Uint64(raw[offSampleMissed:]),
		Interface: int(le.Uint32(raw[offSampleIfindex:])),
		Length:    int(le.Uint32(raw[offSampleLength:])),
		Queue:     int(le.Uint16(raw[offSampleQueue:])),
		Reason:    Reason(raw[offSampleReason]),
		Spared:    raw[offSampleAction] == uint8(weirActionACTION_PASS),
		Data:      raw[offSampleData : offSampleData+captured],
	}, true
}
