package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/meetwire/meetwire/pkg/version"
)

// machine is where was measured, and with what.
type machine struct {
	cores    int
	cpu      string // model; empty: unknown
	load     string // load average of the last minute at the start; empty: unknown
	postgres string
}

func describeMachine(root string) machine {
	m := machine{cores: runtime.NumCPU()}
	if text, err := os.ReadFile(filepath.Join(root, "cpuinfo")); err == nil { //nolint:gosec // G304: a place of the system
		m.cpu = cpuModel(string(text))
	}
	if text, err := os.ReadFile(filepath.Join(root, "loadavg")); err == nil { //nolint:gosec // G304: as above
		m.load, _, _ = strings.Cut(string(text), " ")
	}
	return m
}

// cpuModel reads the first model name of /proc/cpuinfo.
func cpuModel(text string) string {
	for line := range strings.Lines(text) {
		name, value, found := strings.Cut(line, ":")
		if found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (m machine) String() string {
	text := fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, m.cores)
	if m.cpu != "" {
		text += " (" + m.cpu + ")"
	}
	text += fmt.Sprintf("; Meetwire %s, %s, nats-server %s, nats.go %s, Postgres %s",
		version.Version, runtime.Version(), server.VERSION, nats.Version, m.postgres)
	if m.load != "" {
		text += "; load average before the start " + m.load
	}
	return text
}
