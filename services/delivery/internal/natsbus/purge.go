package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// Purge removes every message of an organization from the streams of delivery, and returns how many there were.
// Errors: fault.Unavailable.
func (q *Queue) Purge(ctx context.Context, organization string) (removed int64, err error) {
	for _, purge := range []struct{ stream, filter string }{
		{bus.StreamDeliveries, bus.DeliverySubject(bus.AnyToken, organization, bus.AnyRest)},
		{bus.StreamRetries, bus.RetryTimersFilter(organization, bus.AnyToken)},
		{bus.StreamRetries, bus.RetryDueSubject(bus.AnyToken, organization, bus.AnyRest)},
		{bus.StreamDeadLetters, bus.DeadLetterSubject(bus.AnyToken, organization, bus.AnyToken, bus.AnyRest)},
		{bus.StreamRecords, bus.RecordSubject(organization, bus.AnyRest)},
	} {
		n, err := q.purge(ctx, purge.stream, purge.filter)
		if err != nil {
			return removed, fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", err, "messages cannot be removed at the moment; repeat the call")
		}
		removed += n
	}
	return removed, nil
}

// purge asks the server itself, because the client library does not tell how many messages were removed.
func (q *Queue) purge(ctx context.Context, stream, filter string) (int64, error) {
	request, err := json.Marshal(jetstream.StreamPurgeRequest{Subject: filter})
	if err != nil {
		return 0, fmt.Errorf("encode the request: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, purgeTime)
	defer cancel()
	reply, err := q.js.Conn().RequestWithContext(limited, "$JS.API.STREAM.PURGE."+stream, request)
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", stream, err)
	}
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Purged int64               `json:"purged"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return 0, fmt.Errorf("read the answer to a purge of %s: %w", stream, err)
	}
	if answer.Error != nil {
		return 0, fmt.Errorf("purge %s: %w", stream, errors.New(answer.Error.Description))
	}
	return answer.Purged, nil
}

// purgeTime bounds one purge: the server looks at every message of the organization.
const purgeTime = attemptTime * 6
