package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

var errNothingToChange = usageError("nothing to change: give at least one flag")

// timeFlag is a point in time, as RFC 3339 writes it.
type timeFlag time.Time

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *timeFlag) UnmarshalText(text []byte) error {
	parsed, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return errors.New("must be a time such as 2027-01-31T12:00:00Z")
	}
	*t = timeFlag(parsed)
	return nil
}

func (t *timeFlag) timestamp() *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(time.Time(*t))
}

func roleOf(name string) accessv1.Role {
	return accessv1.Role(accessv1.Role_value["ROLE_"+strings.ToUpper(name)])
}

// duration returns nil for a flag that is not given.
func duration(d *time.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	return durationpb.New(*d)
}

// maxFile bounds what is read of a file.
const maxFile = 8 << 20

// readFile reads a file, or what is typed or piped in when its name is "-".
func (s *Session) readFile(name string) ([]byte, error) {
	from := s.terminal.In
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // G304: the user names it
		if err != nil {
			return nil, fmt.Errorf("open a file: %w", err)
		}
		defer file.Close() //nolint:errcheck // it is only read
		from = file
	}
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return text, nil
}

// readSecret reads a secret from a file; none when there is no name.
func (s *Session) readSecret(name string) (secret.String, error) {
	if name == "" {
		return secret.String{}, nil
	}
	text, err := s.readFile(name)
	return secret.New(strings.TrimRight(string(text), "\r\n")), err
}
