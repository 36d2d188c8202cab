package queues

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// room is what is mapped for the kernel to write to, in bytes: names of 32,767 counters. A
	// mlx5 with 128 queues has some 15,000.
	room = 1 << 20
	// namesAt and valuesAt are the lengths of struct ethtool_gstrings and struct ethtool_stats.
	namesAt, valuesAt = 12, 8
	// nameBytes is ETH_GSTRING_LEN, setStats ETH_SS_STATS of linux/ethtool.h.
	nameBytes, setStats = 32, 1
	// readings bounds how often a list is read whose length changes meanwhile.
	readings = 3
)

var errChanging = errors.New("the number of counters changes all the time: try again when the interface is set up")

// driverOf asks by ethtool's ioctls, in the namespace of the calling thread. It needs no
// privileges.
//
// The kernel writes as many counters as there are when it writes, whatever it was told of the
// room (until commit 7b07be1ff1cb, late in 2025). So it writes to a mapping of its own that ends
// in a page which cannot be written: too many are an error, not an overwritten heap.
func driverOf(iface string) (string, map[string]uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	buf, err := unix.Mmap(-1, 0, room+os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return "", nil, fmt.Errorf("map memory: %w", err)
	}
	defer unix.Munmap(buf) //nolint:errcheck // it was mapped
	if err := unix.Mprotect(buf[room:], unix.PROT_NONE); err != nil {
		return "", nil, fmt.Errorf("protect memory: %w", err)
	}
	for range readings {
		info, err := unix.IoctlGetEthtoolDrvinfo(fd, iface)
		if err != nil {
			return "", nil, fmt.Errorf("ask for the driver: %w", err)
		}
		driver := unix.ByteSliceToString(info.Driver[:])
		counters, err := statistics(fd, iface, buf[:room], info.N_stats)
		if !errors.Is(err, errChanging) {
			return driver, counters, err
		}
	}
	return "", nil, errChanging
}

// statistics reads n counters by way of buf.
func statistics(fd int, iface string, buf []byte, n uint32) (map[string]uint64, error) {
	if n > (room-namesAt)/nameBytes {
		return nil, fmt.Errorf("%d counters: more than there is room for", n)
	}
	counters := make(map[string]uint64, n)
	if n == 0 {
		return counters, nil
	}
	order := binary.NativeEndian
	order.PutUint32(buf, unix.ETHTOOL_GSTRINGS)
	order.PutUint32(buf[4:], setStats)
	order.PutUint32(buf[8:], n)
	if err := ethtool(fd, iface, buf); err != nil {
		return nil, fmt.Errorf("ask for the names of counters: %w", err)
	}
	if order.Uint32(buf[8:]) != n {
		return nil, errChanging
	}
	names := make([]string, n)
	for i := range names {
		at := namesAt + i*nameBytes
		names[i] = unix.ByteSliceToString(buf[at : at+nameBytes])
	}
	order.PutUint32(buf, unix.ETHTOOL_GSTATS)
	order.PutUint32(buf[4:], n)
	if err := ethtool(fd, iface, buf); err != nil {
		return nil, fmt.Errorf("ask for counters: %w", err)
	}
	if order.Uint32(buf[4:]) != n {
		return nil, errChanging
	}
	for i, name := range names {
		counters[name] = order.Uint64(buf[valuesAt+8*i:])
	}
	return counters, nil
}

// ifreq is struct ifreq of linux/if.h with a pointer in its union, which is at most 24 bytes.
type ifreq struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// ethtool passes a request, and takes the answer in its place.
func ethtool(fd int, iface string, buf []byte) error {
	r := ifreq{data: unsafe.Pointer(unsafe.SliceData(buf))}
	copy(r.name[:len(r.name)-1], iface)
	// The kernel reads r, which is at least as long as its own struct, and keeps no pointer. r is
	// alive for the call, being converted in the call's arguments; buf is a mapping, which the
	// garbage collector does not move, and which driverOf unmaps after the last call.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}
