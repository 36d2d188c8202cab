// Package units tests weir's Debian package where systemd runs it: in the guest of make vm, which has the package at /weir/weir.deb.
// Each test begins with the package as it is installed first, and none is for a machine that is used for anything else.
package units
