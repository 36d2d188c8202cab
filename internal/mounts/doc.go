// Package mounts finds the file systems by which the kernel shows itself, and mounts those that are
// missing. On systems other than Linux there are none, and nothing to do.
package mounts
