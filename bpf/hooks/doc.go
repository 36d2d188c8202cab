// Package hooks asks the running kernel which of the BPF hooks that weir uses it has, by loading a program of each: a version
// or a build option says less, since what was built can be switched off, and what is old can be patched. Nothing is attached,
// and nothing stays loaded.
package hooks
