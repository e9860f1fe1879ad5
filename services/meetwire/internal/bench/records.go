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
	waiting, err := r.waiting(ctx, last)
	if waiting == 0 || err != nil {
		return "", err
	}
	return fmt.Sprintf("%d records not written", waiting), nil
}

// waiting is how many records are not written yet, of those up to a sequence of their stream.
func (r *records) waiting(ctx context.Context, last uint64) (uint64, error) {
	var position uint64
	if err := r.pool.QueryRow(ctx, "SELECT position FROM delivery.recorder").Scan(&position); err != nil {
		return 0, fmt.Errorf("ask how much is recorded: %w", err)
	}
	return last - min(position, last), nil
}
