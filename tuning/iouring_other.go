//go:build !linux

package tuning

// ExamineIOUring says whether this process may use io_uring, which only Linux has.
func ExamineIOUring() Finding {
	return Finding{Check: "io_uring", Level: OK, Found: "not available: it is a part of Linux; weir does not need it"}
}
