// Package notify tells the service manager that started this process how it is: sd_notify(3), and takes the sockets that it
// listens at for it: sd_listen_fds(3). Both are a few variables and datagrams, so no library is needed.
//
// A nil [Service] is that of a process which nobody manages: what it is told goes nowhere.
package notify
