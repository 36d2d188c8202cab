package policy

import "unsafe"

// lend is b as a string, for as long as b does not change.
//
// It is safe as what it is called with is an [Exchange]'s own buffer, which is written before the call and not again
// until the string is forgotten: at the next Begin of the same Exchange.
func lend(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// view is s as bytes, to be read alone, while s lives: what it is called with is hashed and not kept.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
