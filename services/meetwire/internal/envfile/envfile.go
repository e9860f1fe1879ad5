// Package envfile owns `meetwire env`: it makes the secrets of a new installation. It stores none of them.
package envfile

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
)

// Command is the command line of `meetwire env`.
type Command struct{}

// Run writes fresh secrets as NAME=value lines, which Docker Compose and most other tools read.
func (Command) Run(out io.Writer) error {
	keyset, err := seal.GenerateKeyset()
	if err != nil {
		return fmt.Errorf("make a keyset: %w", err)
	}
	_, operator, _, err := rpc.NewKey()
	if err != nil {
		return fmt.Errorf("make the operator's key: %w", err)
	}
	lines := []struct{ name, value string }{
		{"MEETWIRE_KEYSET", keyset.Reveal()},
		{"MEETWIRE_OPERATOR_KEY", operator.Reveal()},
	}
	for _, name := range []string{
		"MEETWIRE_SERVICE_TOKEN", "NATS_INGEST_PASSWORD", "NATS_DELIVERY_PASSWORD", "NATS_SUBSCRIPTION_PASSWORD",
		"NATS_PUBLISHER_PASSWORD", "NATS_OPERATOR_PASSWORD", "NATS_SYSTEM_PASSWORD", "POSTGRES_PASSWORD",
	} {
		random := make([]byte, 32)
		if _, err := rand.Read(random); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		// The letter in front keeps NATS from reading the value as a number.
		lines = append(lines, struct{ name, value string }{name, "s" + hex.EncodeToString(random)})
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(out, "%s=%s\n", line.name, line.value); err != nil {
			return fmt.Errorf("write the secrets: %w", err)
		}
	}
	return nil
}
