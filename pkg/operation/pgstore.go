package operation

import (
	"context"
	_ "embed" // the table
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/pg"
)

//go:embed table.sql
var table string

// schemaName is where the name of the schema goes in SQL.
const schemaName = "SCHEMA"

// Table returns the statements that make the table of operations in a schema, as a migration has them.
func Table(schema string) string { return strings.ReplaceAll(table, schemaName, schema) }

// PgStore keeps operations in the table `operation` of a schema. All its methods return fault.Unavailable while Postgres
// is away, besides what each of them names.
type PgStore struct {
	pool   *pgxpool.Pool
	schema string
	now    func() time.Time
}

// NewPgStore returns the store over the table of a schema, whose name is a constant of the service.
func NewPgStore(pool *pgxpool.Pool, schema string, now func() time.Time) *PgStore {
	return &PgStore{pool: pool, schema: pgx.Identifier{schema}.Sanitize(), now: now}
}

// sql puts the name of the schema into a statement.
func (s *PgStore) sql(statement string) string {
	return strings.ReplaceAll(statement, schemaName, s.schema)
}

// stored is the time of the clock as it comes back from Postgres.
func (s *PgStore) stored() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// columns are those of an operation, in the order of operationOf.
const columns = `id, organization, type, target, state, parameters, dry_run, rate, total_count, processed_count,
	affected_count, skipped_count, repeat_count, error_reason, error_message, create_time, update_time, end_time`

// operationOf reads a row that begins with columns, and goes on with what rest points to.
func operationOf(row pgx.Row, rest ...any) (Operation, error) {
	var (
		o     Operation
		id    uuid.UUID
		state string
		ended *time.Time
	)
	err := row.Scan(append([]any{
		&id, &o.Organization, &o.Type, &o.Target, &state, &o.Parameters, &o.DryRun, &o.Rate, &o.Total, &o.Processed,
		&o.Affected, &o.Skipped, &o.Repeat, &o.ErrorReason, &o.ErrorMessage, &o.CreateTime, &o.UpdateTime, &ended,
	}, rest...)...)
	if err != nil {
		return Operation{}, err
	}
	o.ID, o.State = id.String(), State(state)
	o.CreateTime, o.UpdateTime = o.CreateTime.UTC(), o.UpdateTime.UTC()
	if ended != nil {
		o.EndTime = ended.UTC()
	}
	return o, nil
}

// Operation returns an operation of an organization, or with an empty one of the installation. fault.NotFound when
// there is none.
func (s *PgStore) Operation(ctx context.Context, organization, id string) (Operation, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return Operation{}, NotFound(organization, id)
	}
	o, err := operationOf(s.pool.QueryRow(ctx, s.sql(`SELECT `+columns+` FROM SCHEMA.operation
		WHERE id = $1 AND organization = $2`), key, organization))
	return o, found(err, organization, id, "read an operation")
}

// found makes a fault of an error, NotFound when there is no row.
func found(err error, organization, id, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return NotFound(organization, id)
	default:
		return pg.Fault(fmt.Errorf("%s: %w", what, err))
	}
}

// Operations returns at most limit operations of an organization, with an empty one those of the installation and of
// all organizations, that come before a time and id, the newest first.
func (s *PgStore) Operations(ctx context.Context, organization string, before time.Time, beforeID uuid.UUID, limit int) ([]Operation, error) {
	rows, err := s.pool.Query(ctx, s.sql(`SELECT `+columns+` FROM SCHEMA.operation
		WHERE ($1 = '' OR organization = $1) AND (create_time, id) < ($2, $3)
		ORDER BY create_time DESC, id DESC LIMIT $4`), organization, before, beforeID, limit)
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("list operations: %w", err))
	}
	operations, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Operation, error) { return operationOf(row) })
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("list operations: %w", err))
	}
	return operations, nil
}

// Retention is for how long operations that have ended are kept, and removeLimit how many are removed at once.
const (
	Retention   = 30 * 24 * time.Hour
	removeLimit = 1000
)

// RemoveEnded removes the operations that ended more than 30 days ago.
func (s *PgStore) RemoveEnded(ctx context.Context) error {
	for {
		tag, err := s.pool.Exec(ctx, s.sql(`DELETE FROM SCHEMA.operation WHERE id IN (
			SELECT id FROM SCHEMA.operation WHERE end_time < $1 LIMIT $2)`), s.stored().Add(-Retention), removeLimit)
		if err != nil {
			return pg.Fault(fmt.Errorf("remove operations that ended long ago: %w", err))
		}
		if tag.RowsAffected() < removeLimit {
			return nil
		}
	}
}

// DeleteOrganization removes all operations of an organization that is gone, also those that run, and returns how many.
func (s *PgStore) DeleteOrganization(ctx context.Context, organization string) (int64, error) {
	if organization == "" {
		return 0, nil // those of the installation are nobody's
	}
	tag, err := s.pool.Exec(ctx, s.sql(`DELETE FROM SCHEMA.operation WHERE organization = $1`), organization)
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("remove the operations of an organization: %w", err))
	}
	return tag.RowsAffected(), nil
}
