// Package genltest is a kernel for tests that has one family of generic netlink, or none. It is of Linux alone, as genl is.
package genltest
