package natsbus

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
)

// purgeWait is how long a purge may take.
const purgeWait = time.Minute

// PurgeOrganization removes the events and the rejects of an organization, and what is told of them, and returns how many
// messages there were. Errors: fault.Unavailable, or the context's.
func (w *Worker) PurgeOrganization(ctx context.Context, organization string) (int64, error) {
	total := int64(0)
	for _, p := range []struct {
		stream   string
		subjects []string
	}{
		{bus.StreamEvents, bus.EventOrganizationFilters(organization)},
		{bus.StreamRejects, []string{bus.RejectSubject(organization)}},
		{bus.StreamFanOuts, []string{bus.FanOutSubject(organization)}},
	} {
		stream, err := w.stream(ctx, p.stream)
		if err != nil {
			return total, streamFault(ctx, "open stream "+p.stream, err)
		}
		for _, subject := range p.subjects {
			n, err := purge(ctx, stream, subject)
			if err != nil {
				return total, streamFault(ctx, "purge stream "+p.stream, err)
			}
			total += n
		}
	}
	return total, nil
}

// purge removes everything on a subject and returns how much it was.
func purge(ctx context.Context, stream jetstream.Stream, subject string) (n int64, err error) {
	info, err := request(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return stream.Info(ctx, jetstream.WithSubjectFilter(subject))
	})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, purgeWait)
	defer cancel()
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return 0, err
	}
	for _, count := range info.State.Subjects {
		n += int64(count) //nolint:gosec // G115: a count
	}
	return n, nil
}
