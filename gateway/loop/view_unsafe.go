package loop

import "unsafe"

// view is b as a string, while b does not change.
//
// What it is called with is an exchange's copy of a head, or slices of it, which is written before a request is looked at and not
// again until the exchange has ended; the rules and records that see the strings are done with them by then.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
