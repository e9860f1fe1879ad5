package grpcapi_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
)

const webhookID = "7d0f9b1e-2f3c-4a5b-8c6d-9e0f1a2b3c4d"

// configuration is heard of up to a revision.
type configuration struct {
	revision      int64
	organizations map[string]bool
}

func (c configuration) WaitFor(ctx context.Context, revision int64) error {
	if revision <= c.revision {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (c configuration) HasOrganization(id string) bool { return c.organizations[id] }

// streams answers as it is told, and notes what it is asked.
type streams struct {
	asked    []any
	progress core.Progress
	err      error
}

func (s *streams) FanOutHistory(_ context.Context, history core.History) (core.Progress, error) {
	s.asked = append(s.asked, history)
	return s.progress, s.err
}

func (s *streams) PurgeOrganization(_ context.Context, organization string) (int64, error) {
	s.asked = append(s.asked, organization)
	return 7, s.err
}

func internal() (*grpcapi.Internal, *streams) {
	index := core.NewIndex()
	index.Reset(core.Change{
		Organizations: []core.Organization{{ID: "acme", WebhooksAvailable: true}},
		Webhooks:      []core.Webhook{{ID: webhookID, Organization: "acme"}},
	}, 5)
	s := &streams{}
	return &grpcapi.Internal{
		Configuration: configuration{5, map[string]bool{"acme": true}}, Index: index, Streams: s, Rows: s,
	}, s
}

func TestFanOutHistory(t *testing.T) {
	t.Parallel()
	i, streams := internal()
	request := func(change func(*ingestv1.FanOutHistoryRequest)) *ingestv1.FanOutHistoryRequest {
		r := &ingestv1.FanOutHistoryRequest{
			Organization: "acme", Webhook: webhookID, StartTime: timestamppb.New(now()), EndTime: timestamppb.New(now().Add(time.Hour)), Revision: 5,
		}
		change(r)
		return r
	}
	streams.progress = core.Progress{After: 9, Events: 3, Matched: 2, Done: true}
	response, err := i.FanOutHistory(t.Context(), request(func(r *ingestv1.FanOutHistoryRequest) { r.AfterSequence, r.MaxEvents = 4, 20 }))
	require.NoError(t, err)
	require.EqualValues(t, 9, response.GetAfterSequence())
	require.EqualValues(t, 3, response.GetEventCount())
	require.EqualValues(t, 2, response.GetMatchedCount())
	require.True(t, response.GetDone())
	want := core.History{Organization: "acme", Webhook: webhookID, Start: now(), End: now().Add(time.Hour), After: 4, MaxEvents: 20}
	require.Equal(t, []any{want}, streams.asked)

	_, err = i.FanOutHistory(t.Context(), request(func(*ingestv1.FanOutHistoryRequest) {}))
	require.NoError(t, err)
	want.After, want.MaxEvents = 0, 500
	require.Equal(t, want, streams.asked[1])

	_, err = i.FanOutHistory(t.Context(), request(func(r *ingestv1.FanOutHistoryRequest) { r.EndTime = r.GetStartTime() }))
	requireField(t, err, "end_time", "after_start_time")
	for _, change := range []func(*ingestv1.FanOutHistoryRequest){
		func(r *ingestv1.FanOutHistoryRequest) { r.Organization = "beta" },
		func(r *ingestv1.FanOutHistoryRequest) { r.Webhook = "00000000-0000-4000-8000-000000000000" },
	} {
		_, err = i.FanOutHistory(t.Context(), request(change))
		require.True(t, fault.Is(err, fault.NotFound))
		require.Equal(t, "WEBHOOK_NOT_FOUND", fault.From(err).Reason)
	}
	require.Len(t, streams.asked, 2)
	streams.err = errors.New("broken")
	_, err = i.FanOutHistory(t.Context(), request(func(*ingestv1.FanOutHistoryRequest) {}))
	require.ErrorIs(t, err, streams.err)
}

func TestPurgeOrganization(t *testing.T) {
	t.Parallel()
	i, streams := internal()
	_, err := i.PurgeOrganization(t.Context(), &ingestv1.PurgeOrganizationRequest{Organization: "acme", Revision: 5})
	require.True(t, fault.Is(err, fault.FailedPrecondition))
	require.Equal(t, "ORGANIZATION_EXISTS", fault.From(err).Reason)
	require.Empty(t, streams.asked)

	response, err := i.PurgeOrganization(t.Context(), &ingestv1.PurgeOrganizationRequest{Organization: "gone", Revision: 5})
	require.NoError(t, err)
	require.EqualValues(t, 7, response.GetMessageCount())
	require.Equal(t, []any{"gone", "gone"}, streams.asked, "of the streams, and of the rows")
	streams.err = errors.New("broken")
	_, err = i.PurgeOrganization(t.Context(), &ingestv1.PurgeOrganizationRequest{Organization: "gone", Revision: 5})
	require.ErrorIs(t, err, streams.err)
}

// Deleting what a later revision says must not be decided by an earlier one.
func TestConfigurationThatHasNotArrivedIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, streams := internal()
		_, err := i.PurgeOrganization(t.Context(), &ingestv1.PurgeOrganizationRequest{Organization: "gone", Revision: 6})
		require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
		require.Equal(t, "CONFIGURATION_BEHIND", fault.From(err).Reason)
		require.Positive(t, fault.From(err).RetryAfter)
		_, err = i.FanOutHistory(t.Context(), &ingestv1.FanOutHistoryRequest{
			Organization: "acme", Webhook: webhookID, StartTime: timestamppb.New(now()), EndTime: timestamppb.New(now().Add(1)), Revision: 6,
		})
		require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = i.PurgeOrganization(ctx, &ingestv1.PurgeOrganizationRequest{Organization: "gone", Revision: 6})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, streams.asked)
	})
}
