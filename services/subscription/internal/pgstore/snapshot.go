package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// Limits of one page of a snapshot. The bytes keep it below the 4 MiB that a gRPC client takes by default, also
// when every webhook is as large as it can be.
const (
	pageResources = 500
	pageBytes     = 1 << 20
)

// Snapshot reads everything as of one revision and gives it to yield page by page, the last one marked so; also
// when there is nothing. Until it returns, it holds a connection and keeps Postgres from cleaning up what has
// changed since: yield must not take long. An error of yield ends it.
func (s *Store) Snapshot(ctx context.Context, yield func(*configv1.SnapshotPage) error) error {
	// The counter is committed together with what it counts, so in one snapshot of the database they agree.
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, s.pool, options, func(tx pgx.Tx) error {
		q := sqlcgen.New(tx)
		revision, err := q.Revision(ctx)
		if err != nil {
			return fmt.Errorf("read the revision: %w", err)
		}
		p := &pager{yield: yield, now: s.now(), page: &configv1.SnapshotPage{Revision: revision}}
		for _, part := range []func(context.Context, *sqlcgen.Queries, *pager) error{
			snapshotOrganizations, snapshotTriggers, snapshotAPIKeys, snapshotWebhooks,
		} {
			if err := part(ctx, q, p); err != nil {
				return err
			}
		}
		p.page.Last = true
		return p.yield(p.page)
	})
	if err != nil {
		return translate(fmt.Errorf("read a snapshot: %w", err))
	}
	return nil
}

// pager collects resources into pages.
type pager struct {
	yield func(*configv1.SnapshotPage) error
	page  *configv1.SnapshotPage
	bytes int
	now   time.Time
}

// add puts a resource onto the page, after handing over the page if it has no room for it.
func (p *pager) add(resource *configv1.Resource) error {
	size := proto.Size(resource)
	if n := len(p.page.Resources); n == pageResources || (n > 0 && p.bytes+size > pageBytes) {
		full := p.page
		p.page = &configv1.SnapshotPage{Revision: full.GetRevision()}
		p.bytes = 0
		if err := p.yield(full); err != nil {
			return err
		}
	}
	p.page.Resources = append(p.page.Resources, resource)
	p.bytes += size
	return nil
}

// scan reads a table in batches, each from after the last row of the one before.
func scan[R any](batch func() ([]R, error), put func(R) error) error {
	for {
		rows, err := batch()
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := put(row); err != nil {
				return err
			}
		}
		if len(rows) < pageResources {
			return nil
		}
	}
}

func snapshotOrganizations(ctx context.Context, q *sqlcgen.Queries, p *pager) error {
	next := sqlcgen.OrganizationsAfterParams{MaxRows: pageResources}
	return scan(
		func() ([]sqlcgen.OrganizationRow, error) { return q.OrganizationsAfter(ctx, next) },
		func(row sqlcgen.OrganizationRow) error {
			next.After = row.ID
			return p.add(organizationResource(organization(row), p.now))
		})
}

func snapshotTriggers(ctx context.Context, q *sqlcgen.Queries, p *pager) error {
	next := sqlcgen.TriggersAfterParams{MaxRows: pageResources}
	return scan(
		func() ([]sqlcgen.TriggerRow, error) { return q.TriggersAfter(ctx, next) },
		func(row sqlcgen.TriggerRow) error {
			next.AfterOrganization, next.AfterID = row.Organization, row.ID
			return p.add(triggerResource(trigger(row)))
		})
}

func snapshotAPIKeys(ctx context.Context, q *sqlcgen.Queries, p *pager) error {
	next := sqlcgen.APIKeysAfterParams{MaxRows: pageResources}
	return scan(
		func() ([]sqlcgen.APIKeyRow, error) { return q.APIKeysAfter(ctx, next) },
		func(row sqlcgen.APIKeyRow) error {
			next.After = row.ID
			return p.add(apiKeyResource(apiKey(row)))
		})
}

func snapshotWebhooks(ctx context.Context, q *sqlcgen.Queries, p *pager) error {
	next := sqlcgen.WebhooksAfterParams{After: uuid.Nil, MaxRows: pageResources}
	return scan(
		func() ([]sqlcgen.WebhookRow, error) { return q.WebhooksAfter(ctx, next) },
		func(row sqlcgen.WebhookRow) error {
			next.After = row.ID
			w, err := webhook(row)
			if err != nil {
				return err
			}
			return p.add(webhookResource(w))
		})
}
