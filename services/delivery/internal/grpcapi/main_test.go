package grpcapi_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	deliveryID = "0198a1b2-c3d4-5e5f-8a6b-0c1d2e3f4a5b"
	webhookID  = "7d0f6f7e-3c52-4d3b-9d5e-1f2a3b4c5d6e"
)

// badNames are names that are none of `organizations/{organization}/<collection>/{uuid}`.
func badNames(collection string) []string {
	good := "organizations/acme/" + collection + "/" + deliveryID
	return []string{
		"", "organizations", "organizations/acme", "organizations/acme/" + collection, "organizations/acme/" + collection + "/",
		good + "/", "/" + good, good + "/attempts/1", " " + good, good + "\n",
		"organizations//" + collection + "/" + deliveryID,
		"organizations/Acme/" + collection + "/" + deliveryID,
		"organizations/a.b/" + collection + "/" + deliveryID,
		"organizations/*/" + collection + "/" + deliveryID,
		"organizations/acme/others/" + deliveryID,
		"organisations/acme/" + collection + "/" + deliveryID,
		"organizations/acme/" + collection + "/1",
		"organizations/acme/" + collection + "/>",
		"organizations/acme/" + collection + "/------------------------------------",
		"organizations/acme/" + collection + "/0198A1B2-C3D4-5E5F-8A6B-0C1D2E3F4A5B",
		"organizations/acme/" + collection + "/0198a1b2c3d45e5f8a6b0c1d2e3f4a5b",
	}
}

// badParents are names that are not `organizations/{organization}`.
func badParents() []string {
	return []string{
		"", "acme", "organizations", "organizations/", "/organizations/acme", "organizations/acme/", "organizations/ACME",
		"organizations/a.b", "organizations/>", "organizations/acme/webhooks/" + webhookID, "teams/acme",
	}
}

// requireInvalid asserts that an error names exactly this field.
func requireInvalid(t *testing.T, err error, field string, input any) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f, "%q", input)
	require.Equal(t, fault.InvalidArgument, f.Kind, "%q", input)
	require.Len(t, f.Fields, 1, "%q", input)
	require.Equal(t, field, f.Fields[0].Path, "%q", input)
	require.NotEmpty(t, f.Fields[0].Message, "%q", input)
}

// fakeStore serves deliveries and attempts from lists, and remembers what it was asked for.
type fakeStore struct {
	deliveries []*deliveryv1.Delivery // cursors are positions
	attempts   []*deliveryv1.Attempt
	err        error

	organization string
	id           uuid.UUID
	filter       pgstore.Filter
	attempted    pgstore.AttemptFilter
	since, until time.Time
	sizes        []int
}

func (s *fakeStore) Delivery(_ context.Context, organization string, id uuid.UUID) (*deliveryv1.Delivery, error) {
	s.organization, s.id = organization, id
	if s.err != nil {
		return nil, s.err
	}
	return s.deliveries[0], nil
}

func (s *fakeStore) Deliveries(
	_ context.Context, organization string, filter pgstore.Filter, after pgstore.DeliveryCursor, size int,
) ([]*deliveryv1.Delivery, pgstore.DeliveryCursor, error) {
	s.organization, s.filter, s.sizes = organization, filter, append(s.sizes, size)
	if s.err != nil {
		return nil, after, s.err
	}
	begin := 0
	if after != pgstore.FirstDeliveries() {
		begin = int(after.Sequence)
	}
	end := min(begin+size, len(s.deliveries))
	return s.deliveries[begin:end], pgstore.DeliveryCursor{Sequence: int64(end), ID: uuid.MustParse(deliveryID)}, nil
}

func (s *fakeStore) Attempts(
	_ context.Context, organization string, id uuid.UUID, after pgstore.AttemptCursor, size int,
) ([]*deliveryv1.Attempt, pgstore.AttemptCursor, error) {
	s.organization, s.id, s.sizes = organization, id, append(s.sizes, size)
	if s.err != nil {
		return nil, after, s.err
	}
	begin := int(after.ID[15])
	end := min(begin+size, len(s.attempts))
	after.ID[15] = byte(end)
	return s.attempts[begin:end], after, nil
}

func (s *fakeStore) AllAttempts(
	ctx context.Context, organization string, filter pgstore.AttemptFilter, after pgstore.AttemptCursor, size int,
) ([]*deliveryv1.Attempt, pgstore.AttemptCursor, error) {
	s.attempted = filter
	if after == pgstore.LastAttempts() {
		after = pgstore.AttemptCursor{}
	}
	return s.Attempts(ctx, organization, uuid.Nil, after, size)
}

func (s *fakeStore) Statistics(
	_ context.Context, organization string, webhook uuid.UUID, since, until time.Time,
) ([]*deliveryv1.WebhookStatistics, error) {
	s.organization, s.id, s.since, s.until = organization, webhook, since, until
	return nil, s.err
}

// fakeLetters serves dead letters from a list, and remembers what it was asked for.
type fakeLetters struct {
	letters []*natsbus.DeadLetter
	err     error

	organization, delivery string
	selected               natsbus.Selection
	sizes                  []int
	replayed               int
}

func (l *fakeLetters) Get(_ context.Context, organization, delivery string) (*natsbus.DeadLetter, error) {
	l.organization, l.delivery = organization, delivery
	if l.err != nil {
		return nil, l.err
	}
	return l.letters[0], nil
}

func (l *fakeLetters) List(_ context.Context, selected natsbus.Selection, from, _ uint64, size int) (natsbus.LetterPart, error) {
	l.selected, l.sizes = selected, append(l.sizes, size)
	var part natsbus.LetterPart
	for _, letter := range l.letters {
		if letter.Sequence < from {
			continue
		}
		if len(part.Letters) == size {
			part.Next = letter.Sequence
			break
		}
		part.Letters = append(part.Letters, letter)
	}
	return part, l.err
}

func (l *fakeLetters) Last(context.Context) (uint64, error) { return 77, l.err }

func (l *fakeLetters) Replay(_ context.Context, organization, delivery string) error {
	l.organization, l.delivery = organization, delivery
	l.replayed++
	return l.err
}

// fakeConfiguration has the organization acme, and webhooks of it.
type fakeConfiguration map[string]core.Status

func (c fakeConfiguration) Webhook(id string) (*core.Webhook, bool) {
	status, ok := c[id]
	return &core.Webhook{ID: id, Organization: "acme", Status: status}, ok
}

func (fakeConfiguration) WaitFor(context.Context, int64) error { return context.DeadlineExceeded }

func (fakeConfiguration) Revision() int64 { return 9 }

func (fakeConfiguration) HasOrganization(id string) bool { return id == "acme" }

// fakeWork remembers what was recorded and begun, in its order.
type fakeWork struct {
	actions []audit.Action
	begun   []operation.Operation
	refused error // of the audit log
}

func (w *fakeWork) Record(_ context.Context, action audit.Action) error {
	w.actions = append(w.actions, action)
	return w.refused
}

func (w *fakeWork) Begin(_ context.Context, o operation.Operation, _ string) (operation.Operation, error) {
	w.begun = append(w.begun, o)
	o.State = operation.Running
	return o, nil
}

// newWork is the work of an API that knows one active webhook.
func newWork() (*grpcapi.Work, *fakeWork) {
	fake := &fakeWork{}
	return &grpcapi.Work{Operations: fake, Audit: fake, Configuration: fakeConfiguration{webhookID: core.StatusActive}}, fake
}

// fakeAttempts has the attempts of a delivery, which are read page by page.
type fakeAttempts struct {
	attempts []*deliveryv1.Attempt
	err      error
}

func (a *fakeAttempts) Attempts(
	_ context.Context, _ string, _ uuid.UUID, after pgstore.AttemptCursor, size int,
) ([]*deliveryv1.Attempt, pgstore.AttemptCursor, error) {
	begin := int(after.ID[15])
	end := min(begin+size, len(a.attempts))
	after.ID[15] = byte(end)
	return a.attempts[begin:end], after, a.err
}
