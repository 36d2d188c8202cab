// Package units tests weir's Debian package where systemd runs it: in the guest of make vm, which has the package at /weir/weir.deb.
// The tests run in the order of the file, the last one purges it. None is for a machine that is used for anything else.
package units
