package pgstore

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// errOnlyTried takes a transaction back that was only to find out whether it could be made.
var errOnlyTried = errors.New("only tried")

// tried is nil when an error says that something was only tried.
func tried(err error) error {
	if errors.Is(err, errOnlyTried) {
		return nil
	}
	return err
}

// InsertTrigger implements core.TriggerStore.
func (s *Store) InsertTrigger(ctx context.Context, t core.Trigger, request core.Request, try bool) error {
	return tried(s.write(ctx, func(ctx context.Context, c *change) error {
		if t.Organization != "" {
			if _, err := c.ShareOrganization(ctx, t.Organization); err != nil {
				return read(fmt.Errorf("read organization: %w", err), core.NoOrganization(t.Organization))
			}
		}
		if err := c.claim(ctx, t.Organization, request, t.ID); err != nil {
			return err
		}
		if err := c.insertTrigger(ctx, t); err != nil {
			err = translate(err)
			if fault.Is(err, fault.AlreadyExists) {
				return core.TriggerExists(t.Organization, t.ID)
			}
			return err
		}
		if try {
			return errOnlyTried
		}
		return nil
	}))
}

// insertTrigger stores a new trigger and notes it.
func (c *change) insertTrigger(ctx context.Context, t core.Trigger) error {
	err := c.InsertTrigger(ctx, sqlcgen.InsertTriggerParams{
		Organization: t.Organization, ID: t.ID, DisplayName: t.DisplayName, Description: t.Description, GroupName: t.Group,
		Schema: t.Schema, Sample: t.Sample, Deprecated: t.Deprecated, SchemaWarnOnly: t.WarnOnly, BuiltIn: t.BuiltIn,
		Operational: t.Operational, Version: t.Version, CreateTime: t.CreateTime, UpdateTime: t.UpdateTime,
	})
	if err != nil {
		return fmt.Errorf("insert trigger %s: %w", t.ID, err)
	}
	c.add(triggerResource(t))
	return c.audit(ctx, core.ActionCreate, t.Organization, t.Name(), nil, t.Document())
}

// putTrigger stores a locked trigger, and tells the other services when it is another one for them.
func (c *change) putTrigger(ctx context.Context, before, t core.Trigger) error {
	err := c.UpdateTrigger(ctx, sqlcgen.UpdateTriggerParams{
		Organization: t.Organization, ID: t.ID, DisplayName: t.DisplayName, Description: t.Description, GroupName: t.Group,
		Schema: t.Schema, Sample: t.Sample, Deprecated: t.Deprecated, SchemaWarnOnly: t.WarnOnly, BuiltIn: t.BuiltIn,
		Operational: t.Operational, Version: t.Version, UpdateTime: t.UpdateTime,
	})
	if err != nil {
		return fmt.Errorf("update trigger %s: %w", t.ID, err)
	}
	if told := triggerResource(t); !proto.Equal(told, triggerResource(before)) {
		c.add(told)
	}
	return c.audit(ctx, core.ActionUpdate, t.Organization, t.Name(), before.Document(), t.Document())
}

// Trigger returns a trigger of an organization's own, or with an empty one of the platform, or fault.NotFound.
func (s *Store) Trigger(ctx context.Context, organization, id string) (core.Trigger, error) {
	row, err := s.queries.Trigger(ctx, sqlcgen.TriggerParams{Organization: organization, ID: id})
	if err != nil {
		return core.Trigger{}, read(fmt.Errorf("read trigger: %w", err), core.NoTrigger(organization, id))
	}
	return trigger(row), nil
}

// Triggers returns at most limit of the triggers that an organization knows, or with an empty one of the platform's,
// that come after the given group and id, in the order of both.
func (s *Store) Triggers(ctx context.Context, organization string, filter core.TriggerFilter, afterGroup, afterID string, limit int) ([]core.Trigger, error) {
	rows, err := s.queries.TriggersByGroupAfter(ctx, sqlcgen.TriggersByGroupAfterParams{
		Organization: organization, AfterGroup: afterGroup, AfterID: afterID, GroupName: filter.Group,
		Deprecated: filter.Deprecated, BuiltIn: filter.BuiltIn, Operational: filter.Operational, MaxRows: int64(limit),
	})
	if err != nil {
		return nil, translate(fmt.Errorf("list triggers: %w", err))
	}
	return convert(rows, trigger), nil
}

// UpdateTrigger implements core.TriggerStore.
func (s *Store) UpdateTrigger(ctx context.Context, organization, id string, try bool,
	update func(core.Trigger, func() (core.InUse, error)) (core.Trigger, bool, error),
) (core.Trigger, error) {
	var t core.Trigger
	err := tried(s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockTrigger(ctx, organization, id)
		if err != nil {
			return err
		}
		asked := func() (core.InUse, error) { return c.webhooksAskingFor(ctx, current, core.TriggerGroups(id)...) }
		var changed bool
		if t, changed, err = update(current, asked); err != nil || !changed {
			return err
		}
		if err := c.putTrigger(ctx, current, t); err != nil {
			return err
		}
		if try {
			return errOnlyTried
		}
		return nil
	}))
	if err != nil {
		return core.Trigger{}, err
	}
	return t, nil
}

// DeleteTrigger implements core.TriggerStore. The lock on the trigger keeps webhooks from asking for it meanwhile.
func (s *Store) DeleteTrigger(ctx context.Context, organization, id string, check func(core.Trigger, core.InUse) error) error {
	return s.write(ctx, func(ctx context.Context, c *change) error {
		current, err := c.lockTrigger(ctx, organization, id)
		if err != nil {
			return err
		}
		asked, err := c.webhooksAskingFor(ctx, current)
		if err != nil {
			return err
		}
		if err := check(current, asked); err != nil {
			return err
		}
		if err := c.DeleteTrigger(ctx, sqlcgen.DeleteTriggerParams{Organization: organization, ID: id}); err != nil {
			return fmt.Errorf("delete trigger: %w", err)
		}
		c.add(deletedTriggerResource(organization, id))
		return c.audit(ctx, core.ActionDelete, organization, current.Name(), current.Document(), nil)
	})
}

// lockTrigger returns a trigger that nobody else can change before this transaction ends.
func (c *change) lockTrigger(ctx context.Context, organization, id string) (core.Trigger, error) {
	row, err := c.LockTrigger(ctx, sqlcgen.LockTriggerParams{Organization: organization, ID: id})
	if err != nil {
		return core.Trigger{}, read(fmt.Errorf("lock trigger: %w", err), core.NoTrigger(organization, id))
	}
	return trigger(row), nil
}

// webhooksAskingFor returns the webhooks that ask for a trigger by its id or by one of the given groups.
func (c *change) webhooksAskingFor(ctx context.Context, t core.Trigger, groups ...string) (core.InUse, error) {
	rows, err := c.WebhooksAskingFor(ctx, sqlcgen.WebhooksAskingForParams{
		Asked: append([]string{t.ID}, groups...), Organization: t.Organization, MaxRows: core.MaxNamed,
	})
	if err != nil {
		return core.InUse{}, fmt.Errorf("find webhooks that ask for %s: %w", t.ID, err)
	}
	var asked core.InUse
	for _, row := range rows {
		asked.Add(row.Organization, row.ID.String(), row.DisplayName, row.Total)
	}
	return asked, nil
}

func trigger(row sqlcgen.TriggerRow) core.Trigger {
	return core.Trigger{
		Organization: row.Organization, ID: row.ID, DisplayName: row.DisplayName, Description: row.Description,
		Group: row.GroupName, Schema: row.Schema, Sample: row.Sample, Deprecated: row.Deprecated, WarnOnly: row.SchemaWarnOnly,
		BuiltIn: row.BuiltIn, Operational: row.Operational, Version: row.Version,
		CreateTime: row.CreateTime.UTC(), UpdateTime: row.UpdateTime.UTC(),
	}
}
