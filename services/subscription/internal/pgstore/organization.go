package pgstore

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/column"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// InsertOrganization implements core.OrganizationStore.
func (s *Store) InsertOrganization(ctx context.Context, o core.Organization, request core.Request) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if err := c.claim(ctx, "", request, o.ID); err != nil {
			return err
		}
		retention, rate, burst := organizationColumns(o)
		err := c.InsertOrganization(ctx, sqlcgen.InsertOrganizationParams{
			ID: o.ID, DisplayName: o.DisplayName, AllowHTTP: o.AllowHTTP, Plan: o.Plan, WebhooksAvailable: o.WebhooksAvailable,
			RecordRetentionNs: retention, WebhookDefaults: column.Defaults(o.WebhookDefaults), QuotaEventsPerSecond: rate,
			QuotaBurst: burst, ClientID: o.ClientID, Secrets: column.Secrets(o.Secrets), Version: o.Version,
			CreateTime: o.CreateTime, UpdateTime: o.UpdateTime,
		})
		if err != nil {
			err = translate(fmt.Errorf("insert organization: %w", err))
			if fault.Is(err, fault.AlreadyExists) {
				return core.OrganizationExists(o.ID)
			}
			return err
		}
		c.add(organizationResource(o, c.now()))
		return c.audit(ctx, core.ActionCreate, o.ID, o.Name(), nil, o.Document())
	})
}

// Organization returns an organization, or fault.NotFound.
func (s *Store) Organization(ctx context.Context, id string) (core.Organization, error) {
	row, err := s.queries.Organization(ctx, id)
	if err != nil {
		return core.Organization{}, read(fmt.Errorf("read organization: %w", err), core.NoOrganization(id))
	}
	return organization(row), nil
}

// Organizations returns at most limit organizations whose slug comes after the given one, in their order; those of a
// plan when it is not empty.
func (s *Store) Organizations(ctx context.Context, plan, after string, limit int) ([]core.Organization, error) {
	var rows []sqlcgen.OrganizationRow
	var err error
	if plan == "" {
		rows, err = s.queries.OrganizationsAfter(ctx, sqlcgen.OrganizationsAfterParams{After: after, MaxRows: int64(limit)})
	} else {
		rows, err = s.queries.OrganizationsOfPlanAfter(ctx, sqlcgen.OrganizationsOfPlanAfterParams{
			Plan: plan, After: after, MaxRows: int64(limit),
		})
	}
	if err != nil {
		return nil, translate(fmt.Errorf("list organizations: %w", err))
	}
	return convert(rows, organization), nil
}

// UpdateOrganization implements core.OrganizationStore.
func (s *Store) UpdateOrganization(ctx context.Context, id string,
	update func(core.Organization) (core.Organization, bool, error),
) (core.Organization, error) {
	var o core.Organization
	err := s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockOrganization(ctx, id)
		if err != nil {
			return err
		}
		var changed bool
		if o, changed, err = update(current); err != nil || !changed {
			return err
		}
		if err := c.putOrganization(ctx, current, o); err != nil {
			return err
		}
		return c.audit(ctx, core.ActionUpdate, o.ID, o.Name(), current.Document(), o.Document())
	})
	if err != nil {
		return core.Organization{}, err
	}
	return o, nil
}

// lockOrganization returns an organization that only this transaction can change, and under which nobody else can make
// anything.
func (c *change) lockOrganization(ctx context.Context, id string) (core.Organization, error) {
	row, err := c.LockOrganization(ctx, id)
	if err != nil {
		return core.Organization{}, read(fmt.Errorf("lock organization: %w", err), core.NoOrganization(id))
	}
	return organization(row), nil
}

// putOrganization stores a locked organization, and tells the other services when it is another one for them.
func (c *change) putOrganization(ctx context.Context, before, o core.Organization) error {
	retention, rate, burst := organizationColumns(o)
	err := c.UpdateOrganization(ctx, sqlcgen.UpdateOrganizationParams{
		ID: o.ID, DisplayName: o.DisplayName, AllowHTTP: o.AllowHTTP, Plan: o.Plan, WebhooksAvailable: o.WebhooksAvailable,
		RecordRetentionNs: retention, WebhookDefaults: column.Defaults(o.WebhookDefaults), QuotaEventsPerSecond: rate,
		QuotaBurst: burst, ClientID: o.ClientID, Secrets: column.Secrets(o.Secrets), Version: o.Version, UpdateTime: o.UpdateTime,
	})
	if err != nil {
		return fmt.Errorf("update organization: %w", err)
	}
	now := c.now()
	if told := organizationResource(o, now); !proto.Equal(told, organizationResource(before, now)) {
		c.add(told)
	}
	return nil
}

func organization(row sqlcgen.OrganizationRow) core.Organization {
	o := core.Organization{
		ID: row.ID, DisplayName: row.DisplayName, AllowHTTP: row.AllowHTTP, Plan: row.Plan,
		WebhooksAvailable: row.WebhooksAvailable, WebhookDefaults: column.CoreDefaults(row.WebhookDefaults),
		ClientID: row.ClientID, Secrets: column.CoreSecrets(row.Secrets), Version: row.Version,
		CreateTime: row.CreateTime.UTC(), UpdateTime: row.UpdateTime.UTC(),
	}
	if row.RecordRetentionNs != nil {
		o.RecordRetention = time.Duration(*row.RecordRetentionNs)
	}
	if row.QuotaEventsPerSecond != nil { // the table has a check that both are set, or none
		o.IngestQuota = &core.IngestQuota{EventsPerSecond: *row.QuotaEventsPerSecond, Burst: *row.QuotaBurst}
	}
	return o
}

// organizationColumns returns the columns of an organization that may be NULL.
func organizationColumns(o core.Organization) (retention *int64, rate *float64, burst *int32) {
	if o.RecordRetention != 0 {
		retention = new(int64(o.RecordRetention))
	}
	if q := o.IngestQuota; q != nil {
		rate, burst = &q.EventsPerSecond, &q.Burst
	}
	return retention, rate, burst
}

// convert makes domain values of rows.
func convert[R, V any](rows []R, f func(R) V) []V {
	values := make([]V, len(rows))
	for i, row := range rows {
		values[i] = f(row)
	}
	return values
}
