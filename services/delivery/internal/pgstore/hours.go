package pgstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// Durations are counted in buckets, each a fifth wider than the one before: the middle of one is within 10 % of
// whatever is in it.
const (
	bucketUnit   = 100 * time.Microsecond // below its first step everything is in bucket 0
	bucketFactor = 1.2
	maxBucket    = 120
)

// bucketOf returns the bucket of a duration.
func bucketOf(d time.Duration) int16 {
	steps := math.Log(float64(max(d, bucketUnit))/float64(bucketUnit)) / math.Log(bucketFactor)
	return int16(min(math.Floor(steps), maxBucket))
}

// middleOf returns the duration that a bucket stands for.
func middleOf(bucket int16) time.Duration {
	return time.Duration(float64(bucketUnit) * math.Pow(bucketFactor, float64(bucket)+0.5))
}

// hourKey is a row of attempt_hour.
type hourKey struct {
	webhook uuid.UUID
	hour    time.Time
	class   string
	bucket  int16
}

// addHours counts attempts that were not stored before.
func (w *writing) addHours(ctx context.Context, q *sqlcgen.Queries, stored []uuid.UUID) error {
	fresh := make(map[uuid.UUID]bool, len(stored))
	for _, id := range stored {
		fresh[id] = true
	}
	counts := make(map[hourKey]int64)
	organizations := make(map[uuid.UUID]string)
	for i, id := range w.attempts.ID {
		if !fresh[id] {
			continue
		}
		webhook := w.attempts.Webhook[i]
		organizations[webhook] = w.attempts.Organization[i]
		counts[hourKey{
			webhook, w.attempts.StartTime[i].UTC().Truncate(time.Hour), w.attempts.ErrorClass[i],
			bucketOf(time.Duration(w.attempts.DurationNs[i])),
		}]++
	}
	var params sqlcgen.AddAttemptHoursParams
	for key, count := range counts {
		params.Webhook = append(params.Webhook, key.webhook)
		params.Hour = append(params.Hour, key.hour)
		params.ErrorClass = append(params.ErrorClass, key.class)
		params.Bucket = append(params.Bucket, key.bucket)
		params.Organization = append(params.Organization, organizations[key.webhook])
		params.Count = append(params.Count, count)
	}
	if len(params.Webhook) == 0 {
		return nil
	}
	if err := q.AddAttemptHours(ctx, params); err != nil {
		return fmt.Errorf("count attempts: %w", err)
	}
	return nil
}

// addDeadHours counts new dead letters.
func addDeadHours(ctx context.Context, q *sqlcgen.Queries, dead []*deliveryv1.Record) error {
	counts := make(map[hourKey]int64)
	organizations := make(map[uuid.UUID]string)
	for _, record := range dead {
		webhook, err := uuid.Parse(record.GetWebhook())
		if err != nil {
			return fmt.Errorf("read a webhook's id: %w", err) // rows has checked it
		}
		organizations[webhook] = record.GetOrganization()
		counts[hourKey{webhook: webhook, hour: record.GetTime().AsTime().Truncate(time.Hour)}]++
	}
	var params sqlcgen.AddDeadLetterHoursParams
	for key, count := range counts {
		params.Webhook = append(params.Webhook, key.webhook)
		params.Hour = append(params.Hour, key.hour)
		params.Organization = append(params.Organization, organizations[key.webhook])
		params.Count = append(params.Count, count)
	}
	if len(params.Webhook) == 0 {
		return nil
	}
	if err := q.AddDeadLetterHours(ctx, params); err != nil {
		return fmt.Errorf("count dead letters by the hour: %w", err)
	}
	return nil
}

// Statistics returns how the attempts of a webhook went, hour by hour, of those hours that began in a time range and in
// which there was something. Errors: fault.Unavailable.
func (s *Store) Statistics(ctx context.Context, organization string, webhook uuid.UUID, since, until time.Time) ([]*deliveryv1.WebhookStatistics, error) {
	q := sqlcgen.New(s.pool)
	attempts, err := q.AttemptHours(ctx, sqlcgen.AttemptHoursParams{Webhook: webhook, Organization: organization, Since: since, Until: until})
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("read the statistics of a webhook: %w", err))
	}
	dead, err := q.DeadLetterHours(ctx, sqlcgen.DeadLetterHoursParams{Webhook: webhook, Organization: organization, Since: since, Until: until})
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("read the dead letters of a webhook: %w", err))
	}
	hours := make(map[int64]*hour)
	at := func(t time.Time) *hour {
		if hours[t.Unix()] == nil {
			hours[t.Unix()] = &hour{statistics: &deliveryv1.WebhookStatistics{Hour: timestamppb.New(t), FailureCounts: make(map[string]int64)}}
		}
		return hours[t.Unix()]
	}
	for _, row := range attempts {
		at(row.Hour).add(row)
	}
	for _, row := range dead {
		at(row.Hour).statistics.DeadLetterCount = row.Count
	}
	all := make([]*deliveryv1.WebhookStatistics, 0, len(hours))
	for _, h := range hours {
		all = append(all, h.done())
	}
	slices.SortFunc(all, func(a, b *deliveryv1.WebhookStatistics) int {
		return a.GetHour().AsTime().Compare(b.GetHour().AsTime())
	})
	return all, nil
}

// hour collects what happened in one.
type hour struct {
	statistics *deliveryv1.WebhookStatistics
	buckets    []bucketCount // in order
}

type bucketCount struct {
	bucket int16
	count  int64
}

func (h *hour) add(row sqlcgen.AttemptHoursRow) {
	h.statistics.AttemptCount += row.Count
	if row.ErrorClass == "" {
		h.statistics.SuccessCount += row.Count
	} else {
		h.statistics.FailureCounts[row.ErrorClass] += row.Count
	}
	h.buckets = append(h.buckets, bucketCount{row.Bucket, row.Count})
}

func (h *hour) done() *deliveryv1.WebhookStatistics {
	h.statistics.P50Duration, h.statistics.P95Duration, h.statistics.P99Duration = h.percentile(0.5), h.percentile(0.95), h.percentile(0.99)
	return h.statistics
}

// percentile returns the duration below which a part of the attempts took; nil when there were none.
func (h *hour) percentile(part float64) *durationpb.Duration {
	left := int64(math.Ceil(part * float64(h.statistics.GetAttemptCount())))
	for _, b := range h.buckets {
		if left -= b.count; left <= 0 {
			return durationpb.New(middleOf(b.bucket))
		}
	}
	return nil
}

// Forget removes statistics of the hours before a time, and the payloads of attempts for events that were stored on the
// days before that of keepPayloads. It returns of how many days payloads went. Errors: fault.Unavailable.
func (s *Store) Forget(ctx context.Context, before, keepPayloads time.Time) (days int, err error) {
	q := sqlcgen.New(s.pool)
	if err := q.DropHours(ctx, before); err != nil {
		return 0, pg.Fault(fmt.Errorf("remove old statistics: %w", err))
	}
	emptied, err := q.EmptyPayloadsBefore(ctx, pg.Day(keepPayloads))
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("remove old payloads: %w", err))
	}
	return int(emptied), nil
}
