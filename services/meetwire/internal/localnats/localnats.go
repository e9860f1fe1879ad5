// Package localnats owns the nats-server that runs inside `meetwire up`: on loopback, with JetStream on disk.
package localnats

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startTime bounds the start; with a million messages on disk it takes 3 s.
const startTime = time.Minute

// errNotReady is returned when the server does not take connections in time.
var errNotReady = errors.New("nats-server did not take connections in time")

// Start starts a server that keeps its streams in a folder. Port 0 is a free one. Without users anybody on this machine
// may do anything; with them, they alone what they need.
func Start(folder string, port int, users *Users, logger *slog.Logger) (*server.Server, error) {
	if port == 0 {
		port = server.RANDOM_PORT
	}
	options := &server.Options{}
	if users != nil {
		var err error
		if options, err = users.options(); err != nil {
			return nil, err
		}
	}
	options.ServerName = "meetwire-up"
	options.Host, options.Port = "127.0.0.1", port
	options.JetStream, options.StoreDir = true, folder
	options.NoSigs = true
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("make nats-server: %w", err)
	}
	s.SetLoggerV2(natsLogger{logger}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTime) {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("%w (is port %d free?)", errNotReady, port)
	}
	return s, nil
}

// natsLogger passes what nats-server logs on.
type natsLogger struct{ logger *slog.Logger }

// Noticef implements server.Logger.
func (l natsLogger) Noticef(format string, args ...any) {
	l.logger.Debug("nats-server", "message", fmt.Sprintf(format, args...))
}

// Warnf implements server.Logger.
func (l natsLogger) Warnf(format string, args ...any) {
	l.logger.Info("nats-server", "message", fmt.Sprintf(format, args...))
}

// Fatalf implements server.Logger.
func (l natsLogger) Fatalf(format string, args ...any) {
	l.logger.Error("nats-server", "message", fmt.Sprintf(format, args...))
}

// Errorf implements server.Logger.
func (l natsLogger) Errorf(format string, args ...any) {
	l.logger.Error("nats-server", "message", fmt.Sprintf(format, args...))
}

// Debugf implements server.Logger.
func (l natsLogger) Debugf(format string, args ...any) {
	l.logger.Debug("nats-server", "message", fmt.Sprintf(format, args...))
}

// Tracef implements server.Logger.
func (l natsLogger) Tracef(format string, args ...any) {
	l.logger.Debug("nats-server", "message", fmt.Sprintf(format, args...))
}
