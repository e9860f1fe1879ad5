// Package cli owns the commands with which people and scripts look after Meetwire. They call the REST API of a gateway,
// and nothing else: they do what their key may do. No command takes a key as an argument, where others on the machine
// could see it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/secret"
)

// Commands are the commands, to be embedded in a command line of kong.
type Commands struct {
	Organizations organizations `cmd:"" help:"Organizations: the tenants. For operators."`
	Plans         plans         `cmd:"" help:"Plans: what organizations may have."`
	Teams         teams         `cmd:"" help:"Teams of an organization."`
	Triggers      triggers      `cmd:"" help:"Triggers: the types of events that webhooks can ask for."`
	Webhooks      webhooks      `cmd:"" help:"Webhooks: where events are sent."`
	Events        events        `cmd:"" help:"Events: what happened."`
	Rejects       rejects       `cmd:"" help:"Rejects: what was published and could not be accepted."`
	Deliveries    deliveries    `cmd:"" help:"Deliveries: one event for one webhook each."`
	DeadLetters   deadLetters   `cmd:"" help:"Dead letters: deliveries that are not tried any more."`
	Tail          tail          `cmd:"" help:"Show attempts as they are made."`
	Secrets       secrets       `cmd:"" help:"The signing secret of an organization."`
	Keys          keys          `cmd:"" help:"API keys of an organization."`
	Audit         audit         `cmd:"" help:"The audit log: who has changed what."`
	Operations    operations    `cmd:"" help:"Operations: work that takes longer than a request."`
	Keyset        keyset        `cmd:"" help:"The keyset that secrets are encrypted with. For operators."`
}

// Connection says which Meetwire is looked after, and how answers are shown. Every command has it.
type Connection struct {
	Server       string        `help:"URL of the gateway." default:"http://127.0.0.1:8080" env:"MEETWIRE_SERVER"`
	KeyFile      string        `help:"File with the API key; else it is taken from MEETWIRE_API_KEY." type:"existingfile" placeholder:"FILE"`
	APIKey       secret.String `kong:"-"`
	Organization string        `help:"Slug of the organization." short:"O" env:"MEETWIRE_ORGANIZATION"`
	Output       string        `help:"How answers are shown: ${enum}." short:"o" enum:"table,json,yaml" default:"table"`
}

// Terminal is where a command reads and writes.
type Terminal struct {
	In          io.Reader
	Out, Err    io.Writer
	Interactive bool // somebody can be asked
}

// envKey is the variable that has the API key.
const envKey = "MEETWIRE_API_KEY"

// ErrUsage is what errors are that a better command line avoids.
var ErrUsage = errors.New("usage")

// usageError is an ErrUsage with a text of its own.
type usageError string

// Error implements error.
func (e usageError) Error() string { return string(e) }

// Is says that it is an ErrUsage.
func (usageError) Is(target error) bool { return target == ErrUsage }

// errNoKey, errNoOrganization and errNotConfirmed are what stops a command before it calls anything.
var (
	errNoKey          = usageError("an API key is required: set MEETWIRE_API_KEY, or give --key-file")
	errNoOrganization = usageError("an organization is required: give --organization, or set MEETWIRE_ORGANIZATION")
	errNotConfirmed   = errors.New("not confirmed: nothing was done")
)

// Session is one run of a command.
type Session struct {
	ctx        context.Context //nolint:containedctx // a Session lives for one command
	connection Connection
	terminal   Terminal
}

// NewSession prepares a run.
func NewSession(ctx context.Context, connection Connection, terminal Terminal) *Session {
	return &Session{ctx: ctx, connection: connection, terminal: terminal}
}

// conn returns the connection to the gateway.
func (s *Session) conn() (*conn, error) {
	key := s.connection.APIKey
	if key.IsZero() {
		key = secret.New(strings.TrimSpace(os.Getenv(envKey)))
	}
	if s.connection.KeyFile != "" {
		text, err := os.ReadFile(s.connection.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the API key: %w", err)
		}
		key = secret.New(strings.TrimSpace(string(text)))
	}
	if key.IsZero() {
		return nil, errNoKey
	}
	return newConn(s.connection.Server, key)
}

// organization returns the resource name of the organization that the command is about.
func (s *Session) organization() (string, error) {
	slug := strings.TrimPrefix(s.connection.Organization, "organizations/")
	if slug == "" {
		return "", errNoOrganization
	}
	return "organizations/" + slug, nil
}

// name returns the resource name of something in the organization, of its id or its whole name.
func (s *Session) name(collection, id string) (string, error) {
	if strings.HasPrefix(id, "organizations/") {
		return id, nil
	}
	parent, err := s.organization()
	if err != nil {
		return "", err
	}
	return parent + "/" + collection + "/" + id, nil
}

// names is name for several.
func (s *Session) names(collection string, ids []string) ([]string, error) {
	all := make([]string, len(ids))
	for i, id := range ids {
		var err error
		if all[i], err = s.name(collection, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Explain returns the text of an error for people: what is wrong, and for each field at fault its rule and limit.
func Explain(err error) string {
	var failed interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &failed) {
		return err.Error()
	}
	st := failed.GRPCStatus()
	var b strings.Builder
	// What was said about it on the way here stands in front of it.
	if before, found := strings.CutSuffix(err.Error(), st.String()); found {
		b.WriteString(before)
	}
	b.WriteString(printable(st.Message()))
	reason := ""
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = d.GetReason()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				if len(d.GetFieldViolations()) == 1 && st.Message() == v.GetField()+": "+v.GetDescription() {
					continue // it was said
				}
				fmt.Fprintf(&b, "\n  %s: %s", printable(v.GetField()), printable(v.GetDescription()))
			}
		}
	}
	switch {
	case reason != "":
		fmt.Fprintf(&b, " (%s)", reason)
	case st.Code() == codes.Unknown:
	default:
		fmt.Fprintf(&b, " (%s)", http.StatusText(httpStatus(st.Code())))
	}
	return b.String()
}

func httpStatus(code codes.Code) int {
	switch code {
	case codes.NotFound:
		return http.StatusNotFound
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.InvalidArgument:
		return http.StatusBadRequest
	default:
		return http.StatusInternalServerError
	}
}
