// Package telemetry owns how a process shows what it does: its logger, its metrics registry, and the HTTP
// endpoints for those who operate it. It keeps no global logger or registry, and declares no metric of a
// service.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Log formats.
const (
	formatJSON = "json"
	formatText = "text"
)

// LogConfig says what is logged and how.
type LogConfig struct {
	LogLevel  string `help:"Least severe level that is logged: debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"MEETWIRE_LOG_LEVEL"`
	LogFormat string `help:"Format of the log, one object or line per message: json or text." enum:"json,text" default:"json" env:"MEETWIRE_LOG_FORMAT"`
}

// NewLogger returns a logger that writes to w. Times are UTC. It fails for a level or a format that is not one
// of those above.
func NewLogger(w io.Writer, cfg LogConfig) (*slog.Logger, error) {
	var level slog.Level
	switch cfg.LogLevel {
	case "debug":
		level = slog.LevelDebug
	case "info":
		level = slog.LevelInfo
	case "warn":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		return nil, fmt.Errorf("log level %q is not one of debug, info, warn, error", cfg.LogLevel)
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: utc}
	switch cfg.LogFormat {
	case formatJSON:
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case formatText:
		return slog.New(slog.NewTextHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log format %q is not one of json, text", cfg.LogFormat)
	}
}

// utc lets lines of hosts in different time zones be read side by side.
func utc(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindTime {
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	}
	if a.Value.Kind() == slog.KindDuration {
		// As text it has a unit; JSON would show a number of nanoseconds.
		a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
	}
	return a
}
