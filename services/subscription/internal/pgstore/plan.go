package pgstore

import (
	"context"
	"fmt"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// organizationsPerChange keeps one entry of the feed well below the size of a gRPC message, also when each organization
// has as many secrets as it can.
const organizationsPerChange = 200

// InstallPlans gives the default plan to organizations that have none yet, and stores for all others what their plans
// come to now. Those whose plan is configured no longer keep what it came to last.
func (s *Store) InstallPlans(ctx context.Context, plans core.Plans) error {
	err := s.resolve(ctx, plans.Default(), func(ctx context.Context, c *change) ([]sqlcgen.OrganizationRow, error) {
		return c.LockOrganizationsWithoutPlan(ctx, organizationsPerChange)
	})
	if err != nil {
		return err
	}
	for _, plan := range plans.All() {
		err := s.resolve(ctx, plan, func(ctx context.Context, c *change) ([]sqlcgen.OrganizationRow, error) {
			return c.LockOrganizationsToResolve(ctx, sqlcgen.LockOrganizationsToResolveParams{
				Plan: plan.Name, WebhooksAvailable: plan.WebhooksAvailable, RecordRetentionNs: retentionColumn(plan),
				MaxRows: organizationsPerChange,
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// resolve stores what a plan comes to for the organizations that lock returns, part by part.
func (s *Store) resolve(ctx context.Context, plan core.Plan, lock func(context.Context, *change) ([]sqlcgen.OrganizationRow, error)) error {
	for found := organizationsPerChange; found == organizationsPerChange; {
		err := s.write(ctx, func(ctx context.Context, c *change) error {
			rows, err := lock(ctx, c)
			if err != nil {
				return fmt.Errorf("find organizations of the plan %s: %w", plan.Name, err)
			}
			found = len(rows)
			return c.resolveAll(ctx, plan, convert(rows, organization))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// resolveAll stores what a plan comes to for locked organizations.
func (c *change) resolveAll(ctx context.Context, plan core.Plan, organizations []core.Organization) error {
	if len(organizations) == 0 {
		return nil
	}
	ids := make([]string, len(organizations))
	for i, before := range organizations {
		ids[i] = before.ID
		o := before.WithPlan(plan)
		c.add(organizationResource(o, c.now()))
		if err := c.audit(ctx, core.ActionUpdate, o.ID, o.Name(), before.PlanDocument(), o.PlanDocument()); err != nil {
			return err
		}
	}
	err := c.ResolvePlan(ctx, sqlcgen.ResolvePlanParams{
		Plan: plan.Name, WebhooksAvailable: plan.WebhooksAvailable, RecordRetentionNs: retentionColumn(plan), Ids: ids,
	})
	if err != nil {
		return fmt.Errorf("store what the plan %s comes to: %w", plan.Name, err)
	}
	return nil
}

// retentionColumn is NULL for a plan that keeps records as long as the installation does.
func retentionColumn(plan core.Plan) *int64 {
	if plan.RecordRetention == 0 {
		return nil
	}
	return new(int64(plan.RecordRetention))
}
