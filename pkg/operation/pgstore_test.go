package operation_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
)

func TestBegunOperationIsKept(t *testing.T) {
	t.Parallel()
	e := setup(t)
	asked := operation.Operation{
		Organization: "acme", Type: "replay_events", Target: "organizations/acme/webhooks/w", DryRun: true, Rate: 2.5, Total: 12,
		Parameters: json.RawMessage(`{"filter": "<é>", "n": 1.5}`),
	}
	begun, err := e.Begin(t.Context(), asked, "")
	require.NoError(t, err)
	require.NoError(t, uuid.Validate(begun.ID))
	require.Equal(t, operation.Running, begun.State)
	require.Equal(t, time.UTC, begun.CreateTime.Location())
	stored := e.get(t, begun.ID)
	require.JSONEq(t, string(asked.Parameters), string(stored.Parameters))
	stored.Parameters = begun.Parameters
	require.Equal(t, begun, stored)
	again, err := e.Begin(t.Context(), asked, "")
	require.NoError(t, err)
	require.NotEqual(t, begun.ID, again.ID, "without a request id every call begins something")

	asked.ID, asked.Organization, asked.Parameters = uuid.NewString(), "", nil
	installation, err := e.Begin(t.Context(), asked, "")
	require.NoError(t, err)
	require.Equal(t, asked.ID, installation.ID)
	require.Equal(t, "organizations/-/operations/"+asked.ID, installation.Name())
	_, err = e.Operation(t.Context(), "", asked.ID)
	require.NoError(t, err)
	for _, wrong := range [][2]string{{"acme", asked.ID}, {"", begun.ID}, {"beta", begun.ID}, {"acme", uuid.NewString()}, {"acme", "x"}, {"acme", ""}} {
		for _, do := range []func(context.Context, string, string) (operation.Operation, error){e.Operation, e.Cancel, e.Resume} {
			_, err = do(t.Context(), wrong[0], wrong[1])
			require.True(t, fault.Is(err, fault.NotFound), "%v: %v", wrong, err)
		}
	}
}

func TestRepeatedRequestBeginsNothing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := uuid.NewString()
	asked := operation.Operation{Organization: "acme", Type: "count", Target: "x", Parameters: json.RawMessage(`{"a":1}`), Rate: 3}
	var mu sync.Mutex
	var ids []string
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			o, err := e.Begin(t.Context(), asked, id)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				o.ID = err.Error()
			}
			ids = append(ids, o.ID)
		})
	}
	all.Wait()
	require.Len(t, ids, 8)
	require.Len(t, slices.Compact(ids), 1, "%v", ids)
	require.NoError(t, uuid.Validate(ids[0]))

	for name, change := range map[string]func(o *operation.Operation){
		"type":       func(o *operation.Operation) { o.Type = "other" },
		"target":     func(o *operation.Operation) { o.Target = "y" },
		"parameters": func(o *operation.Operation) { o.Parameters = json.RawMessage(`{"a":2}`) },
		"dry run":    func(o *operation.Operation) { o.DryRun = true },
		"rate":       func(o *operation.Operation) { o.Rate = 4 },
		"request":    func(o *operation.Operation) { o.Request = []byte("z") },
	} {
		other := asked
		change(&other)
		_, err := e.Begin(t.Context(), other, id)
		require.True(t, fault.Is(err, fault.InvalidArgument), "%s: %v", name, err)
		require.Equal(t, "request_id", fault.From(err).Fields[0].Path)
		require.Contains(t, fault.From(err).Fields[0].Message, "24 hours")
	}
	beta := asked
	beta.Organization = "beta"
	theirs, err := e.Begin(t.Context(), beta, id)
	require.NoError(t, err)
	require.NotEqual(t, ids[0], theirs.ID)

	e.clock.advance(23 * time.Hour)
	o, err := e.Begin(t.Context(), asked, id)
	require.NoError(t, err)
	require.Equal(t, ids[0], o.ID)
	e.clock.advance(2 * time.Hour)
	o, err = e.Begin(t.Context(), asked, id)
	require.NoError(t, err)
	require.NotEqual(t, ids[0], o.ID, "after a day an id is as good as new")
}

// What a handler works out for itself may differ, as long as the same was asked for.
func TestRequestIsWhatIsCompared(t *testing.T) {
	t.Parallel()
	e := setup(t)
	id := uuid.NewString()
	first, err := e.Begin(t.Context(), operation.Operation{Organization: "acme", Type: "count", Parameters: json.RawMessage(`{"until":1}`), Request: []byte("all")}, id)
	require.NoError(t, err)
	second, err := e.Begin(t.Context(), operation.Operation{Organization: "acme", Type: "count", Parameters: json.RawMessage(`{"until":2}`), Request: []byte("all")}, id)
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID)
}

func TestListsBeginWithTheNewest(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var want, all []string
	for i := range 7 {
		o := e.begin(t)
		want, all = append([]string{o.ID}, want...), append([]string{o.ID}, all...)
		if i%2 == 0 {
			o, err := e.Begin(t.Context(), operation.Operation{Organization: strings.Repeat("beta", i/6), Type: "count"}, "")
			require.NoError(t, err)
			all = append([]string{o.ID}, all...)
		}
	}
	list := func(organization string) (ids []string) {
		before, id := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), uuid.Max
		for {
			page, err := e.Operations(t.Context(), organization, before, id, 2)
			require.NoError(t, err)
			for _, o := range page {
				ids = append(ids, o.ID)
				before, id = o.CreateTime, uuid.MustParse(o.ID)
			}
			if len(page) < 2 {
				return ids
			}
		}
	}
	require.Equal(t, want, list("acme"))
	require.Equal(t, all, list(""))
	require.Empty(t, list("nobody"))
}

func TestOperationIsCanceledAndResumed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	o := e.begin(t)
	_, err := e.Resume(t.Context(), "acme", o.ID)
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	w := e.take(t)
	require.NoError(t, e.Postpone(t.Context(), w, 0, fault.New(fault.Unavailable, "AWAY", "%s", "a\x00b"+strings.Repeat("é", 2000))))
	o = e.get(t, o.ID)
	require.Equal(t, "AWAY", o.ErrorReason)
	require.Equal(t, "ab"+strings.Repeat("é", 998), o.ErrorMessage)
	canceled, err := e.Cancel(t.Context(), "acme", o.ID)
	require.NoError(t, err)
	require.Equal(t, operation.Canceled, canceled.State)
	require.False(t, canceled.EndTime.IsZero())
	e.requireNothingToTake(t)
	_, err = e.Cancel(t.Context(), "acme", o.ID)
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	for name, err := range writes(t.Context(), e, &w) {
		require.ErrorIs(t, err, operation.ErrTaken, name)
	}
	require.Equal(t, canceled, e.get(t, o.ID), "what comes after the cancellation is void")

	resumed, err := e.Resume(t.Context(), "acme", o.ID)
	require.NoError(t, err)
	require.Equal(t, operation.Running, resumed.State)
	require.True(t, resumed.EndTime.IsZero())
	require.Empty(t, resumed.ErrorReason)
	w = e.take(t)
	require.Zero(t, w.Failures)
	require.NoError(t, e.End(t.Context(), w, fault.New(fault.NotFound, "GONE", "it is gone")))
	failed := e.get(t, o.ID)
	require.Equal(t, operation.Failed, failed.State)
	require.Equal(t, "GONE", failed.ErrorReason)
	_, err = e.Resume(t.Context(), "acme", o.ID)
	require.NoError(t, err)
	require.NoError(t, e.End(t.Context(), e.take(t), nil))
	require.Equal(t, operation.Succeeded, e.get(t, o.ID).State)
	for _, do := range []func(context.Context, string, string) (operation.Operation, error){e.Cancel, e.Resume} {
		_, err = do(t.Context(), "acme", o.ID)
		require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	}
}

// writes does everything that needs a lease.
func writes(ctx context.Context, e *env, w *operation.Work) map[string]error {
	return map[string]error{
		"advance":  e.Advance(ctx, w, operation.Step{Processed: 1}),
		"renew":    e.Renew(ctx, *w, time.Minute),
		"release":  e.Release(ctx, *w),
		"postpone": e.Postpone(ctx, *w, time.Minute, nil),
		"end":      e.End(ctx, *w, nil),
		"within": e.Within(ctx, w, func(context.Context, pgx.Tx) (operation.Step, error) {
			return operation.Step{}, errors.New("it is called without the lease")
		}),
	}
}

func TestLeasesAndProgress(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.requireNothingToTake(t)
	first, second := e.begin(t), e.begin(t)
	one, two := e.take(t), e.take(t)
	require.Equal(t, first.ID, one.ID, "what waits longest")
	require.Equal(t, second.ID, two.ID)
	require.JSONEq(t, "{}", string(one.Progress))
	e.requireNothingToTake(t)

	total := int64(40)
	require.NoError(t, e.Advance(t.Context(), &one, operation.Step{
		Progress: []byte(`{"at": 7}`), Processed: 10, Affected: 5, Skipped: 3, Repeat: 2, Total: &total,
	}))
	require.NoError(t, e.Advance(t.Context(), &one, operation.Step{Processed: 1, Affected: 1, Skipped: 1, Repeat: 1}))
	require.JSONEq(t, `{"at": 7}`, string(one.Progress))
	require.Equal(t, []int64{40, 11, 6, 4, 3}, []int64{one.Total, one.Processed, one.Affected, one.Skipped, one.Repeat})
	e.clock.advance(50 * time.Second)
	require.NoError(t, e.Renew(t.Context(), one, time.Minute))
	e.clock.advance(20 * time.Second)
	require.Equal(t, two.ID, e.take(t).ID, "its lease has ended, that of the other was renewed")
	for name, err := range writes(t.Context(), e, &two) {
		require.ErrorIs(t, err, operation.ErrTaken, name)
	}
	require.NoError(t, e.Release(t.Context(), one))
	again := e.take(t)
	require.Equal(t, one.ID, again.ID, "released before the end of its lease")
	require.Equal(t, one.Processed, again.Processed)
	require.JSONEq(t, `{"at": 7}`, string(again.Progress))

	require.NoError(t, e.Postpone(t.Context(), again, time.Hour, nil))
	e.requireNothingToTake(t)
	e.clock.advance(time.Hour)
	require.Equal(t, two.ID, e.take(t).ID)
	again = e.take(t)
	require.Zero(t, again.Failures)
	require.NoError(t, e.Postpone(t.Context(), again, 0, fault.New(fault.Unavailable, "AWAY", "away")))
	again = e.take(t)
	require.Equal(t, 1, again.Failures)
	require.NoError(t, e.Advance(t.Context(), &again, operation.Step{}))
	require.Empty(t, e.get(t, again.ID).ErrorReason, "it goes on")
}

func TestStepAndWhatItWritesAreOne(t *testing.T) {
	t.Parallel()
	e := setup(t)
	o := e.begin(t)
	_, err := e.pool.Exec(t.Context(), "CREATE TABLE work.made (n int)")
	require.NoError(t, err)
	w := e.take(t)
	step := func(err error) func(context.Context, pgx.Tx) (operation.Step, error) {
		return func(ctx context.Context, tx pgx.Tx) (operation.Step, error) {
			if _, err := tx.Exec(ctx, "INSERT INTO work.made VALUES (1)"); err != nil {
				return operation.Step{}, err
			}
			return operation.Step{Processed: 1}, err
		}
	}
	refused := errors.New("refused")
	require.ErrorIs(t, e.Within(t.Context(), &w, step(refused)), refused)
	require.Zero(t, w.Processed)
	require.NoError(t, e.Within(t.Context(), &w, step(nil)))
	require.EqualValues(t, 1, w.Processed)
	var rows int64
	require.NoError(t, e.pool.QueryRow(t.Context(), "SELECT count(*) FROM work.made").Scan(&rows))
	require.EqualValues(t, 1, rows)
	require.EqualValues(t, 1, e.get(t, o.ID).Processed)
}

func TestOldAndOrphanedOperationsAreRemoved(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ended, running := e.begin(t), e.begin(t)
	_, err := e.Cancel(t.Context(), "acme", ended.ID)
	require.NoError(t, err)
	e.clock.advance(29 * 24 * time.Hour)
	require.NoError(t, e.RemoveEnded(t.Context()))
	e.get(t, ended.ID)
	e.clock.advance(2 * 24 * time.Hour)
	require.NoError(t, e.RemoveEnded(t.Context()))
	_, err = e.Operation(t.Context(), "acme", ended.ID)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	e.get(t, running.ID)

	for _, organization := range []string{"", "beta"} {
		_, err = e.Begin(t.Context(), operation.Operation{Organization: organization, Type: "count"}, "")
		require.NoError(t, err)
	}
	w := e.take(t)
	for organization, want := range map[string]int64{"acme": 1, "": 0, "nobody": 0} {
		removed, err := e.DeleteOrganization(t.Context(), organization)
		require.NoError(t, err)
		require.Equal(t, want, removed, organization)
	}
	require.ErrorIs(t, e.Renew(t.Context(), w, time.Minute), operation.ErrTaken, "its organization is gone")
	left, err := e.Operations(t.Context(), "", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), uuid.Max, 10)
	require.NoError(t, err)
	require.Len(t, left, 2)
}

func TestStoreWithoutDatabase(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/nothing?sslmode=disable&connect_timeout=1")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	e := &env{PgStore: operation.NewPgStore(pool, schema, time.Now), pool: pool}
	w := operation.Work{Operation: operation.Operation{ID: uuid.NewString()}}
	errs := writes(t.Context(), e, &w)
	_, errs["begin"] = e.Begin(t.Context(), w.Operation, uuid.NewString())
	_, errs["operation"] = e.Operation(t.Context(), "acme", w.ID)
	_, errs["operations"] = e.Operations(t.Context(), "acme", time.Now(), uuid.Max, 1)
	_, errs["cancel"] = e.Cancel(t.Context(), "acme", w.ID)
	_, errs["resume"] = e.Resume(t.Context(), "acme", w.ID)
	_, _, errs["take"] = e.Take(t.Context(), time.Minute)
	_, errs["delete"] = e.DeleteOrganization(t.Context(), "acme")
	errs["remove"] = e.RemoveEnded(t.Context())
	for name, err := range errs {
		require.True(t, fault.Is(err, fault.Unavailable), "%s: %v", name, err)
	}
}
