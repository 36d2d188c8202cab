package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"weir/cmd/weir/config"
	"weir/internal/notify"
)

// service is the service manager that started this process, if one did, and what is said to it.
type service struct {
	*notify.Service
	log *slog.Logger
}

func openService(environ []string, log *slog.Logger) (*service, error) {
	to, err := notify.Open(environ, os.Getpid())
	if err != nil {
		return nil, err
	}
	return &service{to, log}, nil
}

// tell logs what could not be said: the service serves either way.
func (s *service) tell(err error) {
	if err != nil {
		s.log.Warn("the service manager was not told", "err", err)
	}
}

// watch shows signs of life while alive returns nil, until ctx ends.
func (s *service) watch(ctx context.Context, alive func(context.Context) error) {
	s.Watch(ctx, alive, func(err error) { s.log.Error("no sign of life for the service manager", "err", err) })
}

// handed makes another process the service.
func (s *service) handed(pid int) {
	ctx, cancel := context.WithTimeout(context.Background(), handoverPatience)
	defer cancel()
	s.tell(s.HandOver(ctx, pid, fmt.Sprintf("serves, taken over from process %d", os.Getpid())))
}

// adminSocket is the name of the one socket that the service manager may listen at for us.
const adminSocket = "admin"

// inheritedAdmin is the admin server's listener, if the service manager passes one on.
func inheritedAdmin(environ []string) (net.Listener, error) {
	found, err := notify.Listeners(environ, os.Getpid())
	if err != nil {
		return nil, err
	}
	admin := found[adminSocket]
	delete(found, adminSocket)
	for name, other := range found {
		err = errors.Join(err, other.Close(), fmt.Errorf("the service manager passes on a socket %q: only the admin server takes one, with FileDescriptorName=%s: event loops listen themselves, each at a socket of its own", name, adminSocket))
	}
	return admin, err
}

// errSocketTakeover is why an edge takes no socket of the service manager.
var errSocketTakeover = errors.New("the service manager passes on a socket: an edge takes none, as the process that takes over from it could not listen there: remove the unit's .socket, and set admin.listen")

// runtimeDirectory has a takeover's socket in the directory that the service manager made for it, unless the configuration
// says where it is.
func runtimeDirectory(cfg *config.Config, environ []string) {
	if cfg.Edge.Takeover != "" {
		return
	}
	for _, kv := range environ {
		if dirs, found := strings.CutPrefix(kv, "RUNTIME_DIRECTORY="); found && dirs != "" {
			first, _, _ := strings.Cut(dirs, ":")
			cfg.Edge.Takeover = filepath.Join(first, "takeover.sock")
		}
	}
}
