// Package tidy tests what linters cannot: the length of C files, paths of somebody's machine,
// work left undone, verdicts outside verdict.h, and that the compiled BPF objects are those of
// the sources.
package tidy
