package bench

import (
	"context"
	_ "embed" // the statements that make rows
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/secret"
)

// Statements that make the rows of one day. Names in double braces stand for values.
var (
	//go:embed pages/event.sql
	eventRows string
	//go:embed pages/delivery.sql
	deliveryRows string
	//go:embed pages/attempt.sql
	attemptRows string
)

// pageDays is how many days have rows: as long as events, deliveries and attempts are kept.
const pageDays = 30

// minRows is the least number of rows: some in every day.
const minRows = 100 * pageDays

// attemptsPerDelivery is how many attempts pages/delivery.sql makes of one delivery, on the average.
const attemptsPerDelivery = 1.11

// fill makes the rows of one database: events in the schema ingest, deliveries and attempts in the schema delivery.
type fill struct {
	pool  *pgxpool.Pool
	rows  int
	first time.Time // day
}

// fillPages makes as many events, and as many attempts with their deliveries.
func fillPages(ctx context.Context, address secret.String, rows int, now time.Time, progress func(string, ...any)) error {
	const sessions = 2
	pool, err := pg.Open(ctx, pg.Config{DatabaseURL: address, MaxConns: sessions})
	if err != nil {
		return err
	}
	defer pool.Close()
	f := &fill{pool: pool, rows: rows, first: now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-pageDays)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sessions)
	for n := range pageDays {
		g.Go(func() error { return f.deliveries(ctx, n) })
		g.Go(func() error {
			if n%10 == 9 {
				progress("pages: day %d of %d", n+1, pageDays)
			}
			return f.events(ctx, n)
		})
	}
	return g.Wait()
}

func (f *fill) events(ctx context.Context, day int) error {
	const bound = "'2006-01-02 00:00Z'"
	return f.day(ctx, day, []partition{{"ingest.event", eventRows}}, f.rows, bound)
}

func (f *fill) deliveries(ctx context.Context, day int) error {
	const bound = "'2006-01-02'"
	return f.day(ctx, day, []partition{{"delivery.delivery", deliveryRows}, {"delivery.attempt", attemptRows}},
		int(float64(f.rows)/attemptsPerDelivery), bound)
}

// partition is one of a day: of which table, and what fills it.
type partition struct{ table, rows string }

// day makes the partitions of a day in the place of those that are there. Their indexes are made when they are attached,
// those that the tables have, which is quicker than to keep them while rows come.
func (f *fill) day(ctx context.Context, n int, partitions []partition, rows int, bound string) error {
	begin := f.first.AddDate(0, 0, n)
	suffix, perDay := "_"+begin.Format("20060102"), rows/pageDays
	values := strings.NewReplacer(
		"{{rows}}", strconv.Itoa(rows),
		"{{start}}", begin.Format("'2006-01-02 00:00Z'"),
		"{{step}}", strconv.FormatInt((24*time.Hour).Microseconds()/int64(perDay), 10),
		"{{from}}", strconv.Itoa(n*perDay),
		"{{first}}", strconv.Itoa(max(n*perDay, 1)),
		"{{last}}", strconv.Itoa((n+1)*perDay-1),
		"{{day}}", begin.Format("'2006-01-02'"),
		"{{deliveries}}", "delivery.delivery"+suffix,
	)
	err := pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL maintenance_work_mem = '256MB'; SET LOCAL synchronous_commit = off"); err != nil {
			return err
		}
		for _, p := range partitions {
			child := p.table + suffix
			for _, statement := range []string{
				"DROP TABLE IF EXISTS " + child,
				"CREATE UNLOGGED TABLE " + child + " (LIKE " + p.table + " INCLUDING DEFAULTS)",
				strings.ReplaceAll(values.Replace(p.rows), "{{table}}", child),
			} {
				if _, err := tx.Exec(ctx, statement); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make the rows of %s: %w", begin.Format(time.DateOnly), err)
	}
	for _, p := range partitions {
		child := p.table + suffix
		// The last as autovacuum would.
		for _, statement := range []string{
			"ALTER TABLE " + p.table + " ATTACH PARTITION " + child + " FOR VALUES FROM (" + begin.Format(bound) + ") TO (" +
				begin.AddDate(0, 0, 1).Format(bound) + ")",
			"VACUUM (ANALYZE) " + child,
		} {
			if _, err := f.pool.Exec(ctx, statement); err != nil {
				return fmt.Errorf("make the partitions of %s: %w", begin.Format(time.DateOnly), err)
			}
		}
	}
	return nil
}
