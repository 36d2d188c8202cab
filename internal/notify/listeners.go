package notify

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// firstListener is the descriptor of the first socket that is passed on (SD_LISTEN_FDS_START).
const firstListener = 3

// Listeners are the sockets that the manager listens at for this process, by the name that it gives them, as LISTEN_PID,
// LISTEN_FDS and LISTEN_FDNAMES say: none if LISTEN_PID is not pid. They are the caller's to close. A socket that is no
// listening stream, and two of one name, are an error.
func Listeners(environ []string, pid int) (map[string]net.Listener, error) {
	return listeners(environ, pid, firstListener)
}

func listeners(environ []string, pid, first int) (_ map[string]net.Listener, err error) {
	count := lookup(environ, "LISTEN_FDS")
	if count == "" || lookup(environ, "LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS is %q: want the number of sockets", count)
	}
	names := strings.Split(lookup(environ, "LISTEN_FDNAMES"), ":")
	found := map[string]net.Listener{}
	defer func() {
		if err != nil {
			for _, ln := range found {
				_ = ln.Close()
			}
		}
	}()
	for i := range n {
		name := "unknown" // as sd_listen_fds_with_names(3) has it
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		f := os.NewFile(uintptr(first+i), name)
		ln, err := net.FileListener(f)
		_ = f.Close() // the listener has a copy
		if err != nil {
			return nil, fmt.Errorf("use the socket %q of the service manager: want a listening stream (ListenStream=): %w", name, err)
		}
		if found[name] != nil {
			_ = ln.Close()
			return nil, fmt.Errorf("two sockets of the service manager are called %q: give each a FileDescriptorName=", name)
		}
		found[name] = ln
	}
	return found, nil
}
