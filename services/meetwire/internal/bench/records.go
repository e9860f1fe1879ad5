package bench

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/secret"
)

// records is the database in which delivery writes down what happened.
type records struct{ pool *pgxpool.Pool }

func openRecords(ctx context.Context, address secret.String) (*records, error) {
	pool, err := pg.Open(ctx, pg.Config{DatabaseURL: address, MaxConns: 1})
	if err != nil {
		return nil, err
	}
	return &records{pool: pool}, nil
}

func (r *records) close() {
	if r != nil {
		r.pool.Close()
	}
}

// left says whether records are not written yet, of those up to a sequence of their stream.
func (r *records) left(ctx context.Context, last uint64) (string, error) {
	if r == nil || last == 0 {
		return "", nil
	}
	var position int64
	if err := r.pool.QueryRow(ctx, "SELECT position FROM delivery.recorder").Scan(&position); err != nil {
		return "", fmt.Errorf("ask how much is recorded: %w", err)
	}
	if waiting := int64(last) - position; waiting > 0 { //nolint:gosec // G115: sequences are small
		return fmt.Sprintf("%d records not written", waiting), nil
	}
	return "", nil
}
