// Package kernels runs the tests of the BPF programs on other kernels than the machine's, in
// guests under qemu without hardware help. Every TestBPF and TestNetns of the packages runs in each
// guest, but for those that leftOut names; what repeats much repeats less there
// (bpftest.Often). `make test-kernels` runs it.
//
// A kernel and its modules are kept in .cache/kernels and fetched by tools/kernels.sh when they
// are missing. A guest has nothing but them, the tests' binaries, their testdata and
// test/kernels/init as its first process, which reports through a serial port.
package kernels
