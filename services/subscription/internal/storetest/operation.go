package storetest

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func checkOperations(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "gone")
	w := s.webhook(t, "acme")
	o := s.resume(t, "acme", w.ID)
	for _, step := range []struct {
		what  string
		do    func(id string) (core.Operation, error)
		state core.OperationState // empty: it is refused
		audit core.Action
	}{
		{"resume what runs", func(id string) (core.Operation, error) { return s.ResumeOperation(ctx, "acme", id) }, "", ""},
		{"cancel", func(id string) (core.Operation, error) { return s.CancelOperation(ctx, "acme", id) }, core.OperationCanceled, core.ActionCancel},
		{"cancel again", func(id string) (core.Operation, error) { return s.CancelOperation(ctx, "acme", id) }, "", ""},
		{"resume", func(id string) (core.Operation, error) { return s.ResumeOperation(ctx, "acme", id) }, core.OperationRunning, core.ActionResume},
	} {
		if step.state == "" {
			s.leaves(t, traces{}, func() {
				_, err := step.do(o.ID)
				requireKind(t, fault.FailedPrecondition, err, step.what)
			})
			continue
		}
		s.leaves(t, traces{audit: []string{string(step.audit) + " " + o.Name()}}, func() {
			got, err := step.do(o.ID)
			require.NoError(t, err, step.what)
			require.Equal(t, step.state, got.State)
			require.Equal(t, step.state == core.OperationRunning, got.EndTime.IsZero())
			stored, err := s.Operation(ctx, "acme", o.ID)
			require.NoError(t, err)
			require.Equal(t, stored, got)
			requireStored(t, got.CreateTime, got.UpdateTime)
		})
	}
	require.NoError(t, s.EndOperation(ctx, s.take(t), nil))
	for _, do := range []func() (core.Operation, error){
		func() (core.Operation, error) { return s.CancelOperation(ctx, "acme", o.ID) },
		func() (core.Operation, error) { return s.ResumeOperation(ctx, "acme", o.ID) },
	} {
		_, err := do()
		requireKind(t, fault.FailedPrecondition, err, "it has succeeded")
	}
	deletion, err := s.DeleteOrganization(ctx, "gone", func(core.Organization) error { return nil })
	require.NoError(t, err)
	_, err = s.CancelOperation(ctx, "gone", deletion.ID)
	requireKind(t, fault.FailedPrecondition, err, "nobody can stop half of a deletion")

	// One reencryption at a time, which is the installation's.
	ids := make([]string, 8)
	for _, err := range together(len(ids), func(i int) error {
		begun, err := s.BeginReencryption(ctx)
		ids[i] = begun.ID
		return err
	}) {
		require.NoError(t, err)
	}
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	_, err = s.Operation(ctx, "", ids[0])
	require.NoError(t, err)
	_, err = s.Operation(ctx, "acme", ids[0])
	requireKind(t, fault.NotFound, err)
	_, err = s.Operation(ctx, "", o.ID)
	requireKind(t, fault.NotFound, err)
}

func checkOperationLists(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	ours, theirs := s.webhook(t, "acme"), s.webhook(t, "beta")
	var want, all []string
	for i := range 7 {
		o := s.resume(t, "acme", ours.ID)
		want, all = append([]string{o.ID}, want...), append([]string{o.ID}, all...)
		if i%2 == 0 {
			all = append([]string{s.resume(t, "beta", theirs.ID).ID}, all...)
		}
	}
	list := func(organization string, between func()) (ids []string) {
		for _, o := range walk(t, 2, func(after *core.Operation) ([]core.Operation, error) {
			before, id := farFuture(), uuid.Max
			if after != nil {
				before, id = after.CreateTime, uuid.MustParse(after.ID)
			}
			return s.Operations(ctx, organization, before, id, 2)
		}, between) {
			ids = append(ids, o.ID)
		}
		return ids
	}
	require.Equal(t, all, list("", nil), "those of all")
	require.Equal(t, want, list("acme", func() { s.resume(t, "acme", ours.ID) }))
}

func checkWork(t *testing.T, s *suite) {
	ctx := t.Context()
	_, ok, err := s.TakeOperation(ctx, time.Minute)
	require.NoError(t, err)
	require.False(t, ok)
	s.tenants(t, "acme")
	w := s.webhook(t, "acme")
	first, second := s.resume(t, "acme", w.ID), s.resume(t, "acme", w.ID)
	one := s.take(t)
	require.Equal(t, first, one.Operation, "what waits longest")
	require.JSONEq(t, "{}", string(one.Progress))
	two := s.take(t)
	require.Equal(t, second.ID, two.ID)
	_, ok, err = s.TakeOperation(ctx, time.Minute)
	require.NoError(t, err)
	require.False(t, ok, "both are taken")

	require.NoError(t, s.AdvanceOperation(ctx, one, core.Step{Progress: []byte(`{"at": 7}`), Processed: 5, Affected: 3}))
	require.NoError(t, s.AdvanceOperation(ctx, one, core.Step{Progress: []byte(`{"at": 8}`), Processed: 5, Affected: 3}))
	s.clock.advance(50 * time.Second)
	require.NoError(t, s.RenewOperation(ctx, one, time.Minute))
	s.clock.advance(20 * time.Second)
	again := s.take(t)
	require.Equal(t, two.ID, again.ID, "its lease has ended, that of the other was renewed")
	require.NoError(t, s.ReleaseOperation(ctx, one))
	one = s.take(t)
	require.Equal(t, first.ID, one.ID, "released before the end of its lease")
	require.JSONEq(t, `{"at": 8}`, string(one.Progress))
	require.EqualValues(t, 10, one.ProcessedCount)
	require.EqualValues(t, 6, one.AffectedCount)

	away := fault.New(fault.Unavailable, "AWAY", "%s", "a\x00b"+writing)
	for tries := range 2 {
		require.Equal(t, tries, one.Failures)
		require.NoError(t, s.PostponeOperation(ctx, one, time.Hour, away))
		_, ok, err = s.TakeOperation(ctx, time.Minute)
		require.NoError(t, err)
		require.False(t, ok)
		stored, err := s.Operation(ctx, "acme", first.ID)
		require.NoError(t, err)
		require.Equal(t, "AWAY", stored.ErrorReason)
		require.Contains(t, stored.ErrorMessage, writing)
		require.Equal(t, core.OperationRunning, stored.State)
		require.NoError(t, s.RenewOperation(ctx, again, 3*time.Hour))
		s.clock.advance(time.Hour)
		one = s.take(t)
	}
	require.NoError(t, s.PostponeOperation(ctx, one, 0, nil))
	one = s.take(t)
	require.Equal(t, 2, one.Failures, "to wait is no failure")
	require.NoError(t, s.AdvanceOperation(ctx, one, core.Step{Progress: []byte("{}")}))
	require.NoError(t, s.EndOperation(ctx, one, fault.New(fault.Internal, "BROKEN", "broken")))
	ended, err := s.Operation(ctx, "acme", first.ID)
	require.NoError(t, err)
	require.Equal(t, core.OperationFailed, ended.State)
	require.Equal(t, "BROKEN", ended.ErrorReason)
	requireStored(t, ended.EndTime)
	resumed, err := s.ResumeOperation(ctx, "acme", first.ID)
	require.NoError(t, err)
	require.Empty(t, resumed.ErrorReason)
	require.Zero(t, s.take(t).Failures)
}

// checkLostWork checks that who has lost an operation cannot change anything any more.
func checkLostWork(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	w := s.webhook(t, "acme")
	requireLost := func(lost core.Work) {
		t.Helper()
		reseal := func([]byte, string) ([]byte, error) { return []byte("changed"), nil }
		next := func(string) ([]byte, error) { return []byte("{}"), nil }
		s.leaves(t, traces{}, func() { //nolint:contextcheck // it is the same one
			for i, err := range []error{
				s.RenewOperation(ctx, lost, time.Minute), s.ReleaseOperation(ctx, lost), s.AdvanceOperation(ctx, lost, core.Step{Progress: []byte("{}")}),
				s.PostponeOperation(ctx, lost, time.Minute, nil), s.EndOperation(ctx, lost, nil), s.RemoveAnnouncements(ctx, lost, []byte("{}")),
			} {
				require.ErrorIs(t, err, core.ErrTaken, i)
			}
			_, err := s.RemoveOrganizationRows(ctx, lost, 10)
			require.ErrorIs(t, err, core.ErrTaken)
			_, err = s.ReencryptOrganizations(ctx, lost, "", 10, reseal, next)
			require.ErrorIs(t, err, core.ErrTaken)
			_, err = s.ReencryptWebhooks(ctx, lost, "", 10, reseal, next)
			require.ErrorIs(t, err, core.ErrTaken)
		})
	}
	o := s.resume(t, "acme", w.ID)
	first := s.take(t)
	s.clock.advance(time.Minute + time.Second)
	require.NoError(t, s.AdvanceOperation(ctx, first, core.Step{Progress: []byte("{}")}), "late, and nobody else has it")
	second := s.take(t)
	requireLost(first)
	require.NoError(t, s.RenewOperation(ctx, second, time.Minute))
	_, err := s.CancelOperation(ctx, "acme", o.ID)
	require.NoError(t, err)
	requireLost(second)
	_, err = s.ResumeOperation(ctx, "acme", o.ID)
	require.NoError(t, err)
	requireLost(second)
	third := s.take(t)
	require.NoError(t, s.EndOperation(ctx, third, nil))
	requireLost(third)
}

func checkWorkAtOnce(t *testing.T, s *suite) {
	const many = 8
	s.tenants(t, "acme")
	w := s.webhook(t, "acme")
	for range many - 1 {
		s.resume(t, "acme", w.ID)
	}
	taken := make([]string, many)
	none := 0
	for i, err := range together(many, func(i int) error {
		work, ok, err := s.TakeOperation(t.Context(), time.Minute)
		if ok {
			taken[i] = work.ID
		}
		return err
	}) {
		require.NoError(t, err)
		if taken[i] == "" {
			none++
		}
	}
	seen := make(map[string]bool)
	for _, id := range taken {
		seen[id] = true
	}
	require.Len(t, seen, many, "each once, and one had none")
	require.Equal(t, 1, none)
}
