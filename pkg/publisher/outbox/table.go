package outbox

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/propagation"

	"github.com/meetwire/meetwire/pkg/publisher"
)

// Table is the name of an outbox, as `name` or `schema.name`. It is quoted wherever it is used, so upper and lower
// case are different. Without a schema it is looked for, and made, where the connection's search_path says.
type Table string

// DefaultTable is the table that Write uses, and a Relay that names none.
const DefaultTable Table = "meetwire_outbox"

// maxNameLength is the greatest length of a name in Postgres, in bytes.
const maxNameLength = 63

// errTable is returned for the name of a table that Postgres could not have.
var errTable = errors.New("the name of an outbox must be `name` or `schema.name`, each of 1 to 63 bytes")

// errData is returned for what cannot be.
var errData = errors.New("the data of a prepared event is no JSON")

//go:embed table.sql
var ddl string

// DDL returns the statements that make the table, for migrations of your own. They may be run again.
func (t Table) DDL() (string, error) {
	name, err := t.quoted()
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(ddl, "{table}", name), nil
}

// DB is a pool, a connection or a transaction of pgx.
type DB interface {
	// Exec runs statements. Errors: those of pgx.
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}

// Migrate makes the table, if it is not there.
func (t Table) Migrate(ctx context.Context, db DB) error {
	statements, err := t.DDL()
	if err != nil {
		return err
	}
	if _, err := db.Exec(ctx, statements); err != nil {
		return fmt.Errorf("make the outbox %s: %w", t, err)
	}
	return nil
}

// Write puts an event into DefaultTable, see Table.Write.
func Write(ctx context.Context, tx pgx.Tx, event publisher.Event) error {
	return DefaultTable.Write(ctx, tx, event)
}

// Write puts an event into the outbox: when the transaction is committed, and only then, it is published. Source must
// be given. ID and Time are filled in when they are empty, and stay the same from then on. If ctx carries an
// OpenTelemetry span, it travels with the event. From here until its end the transaction holds up others that write
// events of the same organization, see Order above.
//
// Errors: *publisher.FieldError, with the transaction as it was; those of Postgres, with which it has failed.
func (t Table) Write(ctx context.Context, tx pgx.Tx, event publisher.Event) error {
	name, err := t.quoted()
	if err != nil {
		return err
	}
	event, err = publisher.Prepare(event)
	if err != nil {
		return err
	}
	data, ok := event.Data.(json.RawMessage)
	if !ok {
		return errData // Prepare always makes one
	}
	extensions, err := json.Marshal(event.Extensions)
	if err != nil {
		return fmt.Errorf("write to the outbox %s: %w", t, err)
	}
	trace := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, trace)

	// The lock must be had before the row takes its number, so it is a statement of its own.
	batch := &pgx.Batch{}
	batch.Queue(`SELECT pg_advisory_xact_lock($1::text::regclass::oid::int4, $2)`, name, lockOf(event.Organization))
	batch.Queue(`INSERT INTO `+name+`
		(organization, trigger, source, id, subject, time, data, extensions, traceparent, tracestate)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10)`,
		event.Organization, event.Trigger, event.Source, event.ID, event.Subject, event.Time.UTC(), string(data),
		string(extensions), trace.Get("traceparent"), trace.Get("tracestate"))
	// A hint, so that the relay need not wait for its next look. It is sent with the commit.
	batch.Queue(`SELECT pg_notify('`+channelPrefix+`' || $1::text::regclass::oid, '')`, name)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("write to the outbox %s: %w", t, err)
	}
	return nil
}

// channelPrefix begins the name of the channel of notifications of an outbox; the table's object id follows.
const channelPrefix = "meetwire_outbox_"

// lockOf returns the number of an organization's lock. It is never that of the relay. Two organizations may share one:
// then their transactions wait for each other, and nothing else happens.
func lockOf(organization string) int32 {
	h := fnv.New32a()
	h.Write([]byte(organization))
	return int32(h.Sum32() & math.MaxInt32)
}

// lockOfRelay is the number of the lock that the one running relay holds.
const lockOfRelay int32 = -1

// quoted returns the name for SQL.
func (t Table) quoted() (string, error) {
	parts := strings.Split(string(t), ".")
	if len(parts) > 2 {
		return "", fmt.Errorf("%w, not %q", errTable, string(t))
	}
	for _, part := range parts {
		if part == "" || len(part) > maxNameLength || strings.ContainsRune(part, 0) {
			return "", fmt.Errorf("%w, not %q", errTable, string(t))
		}
	}
	return pgx.Identifier(parts).Sanitize(), nil
}
