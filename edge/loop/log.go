package loop

import (
	"fmt"
	"log/slog"
)

// gnetLog hands gnet's log to ours. Its messages are formatted text, so they go into an
// attribute.
type gnetLog struct{ log *slog.Logger }

func (g gnetLog) Debugf(format string, args ...any) {
	g.log.Debug("gnet", "text", fmt.Sprintf(format, args...))
}

func (g gnetLog) Infof(format string, args ...any) {
	g.log.Debug("gnet", "text", fmt.Sprintf(format, args...))
}

func (g gnetLog) Warnf(format string, args ...any) {
	g.log.Warn("gnet", "text", fmt.Sprintf(format, args...))
}

func (g gnetLog) Errorf(format string, args ...any) {
	g.log.Error("gnet", "text", fmt.Sprintf(format, args...))
}

// Fatalf logs only: gnet also returns the error, and only main ends the process.
func (g gnetLog) Fatalf(format string, args ...any) {
	g.log.Error("gnet", "text", fmt.Sprintf(format, args...))
}
