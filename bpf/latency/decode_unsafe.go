package latency

import "unsafe"

// decode is a record of the kernel's as the type that was generated from its C type, which has no
// pointers, so that any bytes are one. It copies: raw may lie anywhere. It is not ok if raw is shorter.
func decode[T rttSocketState | stallStall](raw []byte) (v T, ok bool) {
	size := int(unsafe.Sizeof(v))
	if len(raw) < size {
		return v, false
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), size), raw)
	return v, true
}

// socketBytes is what the walk writes of a socket.
const socketBytes = int(unsafe.Sizeof(rttSocketState{}))
