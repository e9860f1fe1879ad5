// Package expiry owns what is told of dead letters that nobody replays: subscription is told of them three days before
// the stream forgets them, and that it has is recorded. It removes nothing: the stream does.
package expiry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

const (
	day = 24 * time.Hour
	// period is how often it is looked, and soon when it is looked again after a failure.
	period = time.Hour
	soon   = time.Minute
	// warning is how long before it expires a dead letter is announced, so that three days are left at least.
	warning = 3*day + period
	// margin is how long after its end a dead letter is recorded as expired: records may be late.
	margin = time.Hour
	// page is how many dead letters are read at once, and pause how long the server is then left alone.
	page  = 500
	pause = 20 * time.Millisecond
	// maxCounts is how many counts subscription is told at once.
	maxCounts  = 500
	reportTime = 10 * time.Second
)

// reason stands for all reasons in a report.
const reason = "expiring"

// Letters is the dead letters.
type Letters interface {
	// List returns some from a sequence on, the oldest first: fault.Unavailable.
	List(ctx context.Context, selected natsbus.Selection, from, until uint64, size int) (natsbus.LetterPart, error)
	// MaxAge returns how long they are kept; 0: for ever: fault.Unavailable.
	MaxAge(ctx context.Context) (time.Duration, error)
}

// Ledger is where it is recorded what became of deliveries.
type Ledger interface {
	// ExpireDeadLetters marks those that became dead letters before a time, and still are: fault.Unavailable.
	ExpireDeadLetters(ctx context.Context, before time.Time) (int64, error)
}

// Subscription is who is told.
type Subscription interface {
	// ReportDeadLetters reports counts; one count has its effect once.
	ReportDeadLetters(context.Context, *configv1.ReportDeadLettersRequest, ...grpc.CallOption) (*configv1.ReportDeadLettersResponse, error)
}

// Announcer tells of dead letters that are about to expire. All those that expire on one day, UTC, are told of at once,
// when three days are left until it begins. One instance at a time is enough, and several do no harm.
type Announcer struct {
	Letters      Letters
	Ledger       Ledger
	Subscription Subscription
	// Active reports whether this instance is the one that announces.
	Active func() bool
	// Operational reports whether the events of a trigger are Meetwire's own: of those nothing is announced.
	Operational func(trigger string) bool
	Logger      *slog.Logger
	Now         func() time.Time

	next uint64 // sequence of the first dead letter that was not announced
}

// Run announces and records until the context ends.
func (a *Announcer) Run(ctx context.Context) error {
	for {
		wait := period
		if err := a.Look(ctx); err != nil {
			wait = soon
			if ctx.Err() == nil {
				a.Logger.WarnContext(ctx, "dead letters about to expire were not looked after", "error", err)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Look announces what is about to expire, and records what has.
func (a *Announcer) Look(ctx context.Context) error {
	if !a.Active() {
		a.next = 0 // when it is this instance's turn again, it does not know what the other has done
		return nil
	}
	if err := a.expire(ctx); err != nil {
		return err
	}
	return a.announce(ctx)
}

// expire records what the stream has forgotten. What counts is the stream: another process may have been given another age.
func (a *Announcer) expire(ctx context.Context) error {
	age, err := a.Letters.MaxAge(ctx)
	if err != nil || age == 0 {
		return err
	}
	expired, err := a.Ledger.ExpireDeadLetters(ctx, a.Now().Add(-age-margin))
	if err != nil {
		return err
	}
	if expired > 0 {
		a.Logger.InfoContext(ctx, "dead letters have expired", "deliveries", expired)
	}
	return nil
}

// announced is what is counted.
type announced struct {
	organization, webhook string
	day                   time.Time
}

func (a *Announcer) announce(ctx context.Context) error {
	horizon := a.Now().UTC().Add(warning).Truncate(day).Add(day)
	counts, next, err := a.count(ctx, horizon)
	if err != nil {
		return err
	}
	all := make([]*configv1.ReportDeadLettersRequest_Count, 0, len(counts))
	for which, n := range counts {
		all = append(all, &configv1.ReportDeadLettersRequest_Count{
			Organization: which.organization, Webhook: which.webhook, Reason: reason, Minute: timestamppb.New(which.day),
			Count: n, Expiring: true,
		})
	}
	slices.SortFunc(all, func(x, y *configv1.ReportDeadLettersRequest_Count) int {
		return cmp.Or(x.GetMinute().AsTime().Compare(y.GetMinute().AsTime()), cmp.Compare(x.GetWebhook(), y.GetWebhook()))
	})
	for some := range slices.Chunk(all, maxCounts) {
		limited, cancel := context.WithTimeout(ctx, reportTime)
		_, err := a.Subscription.ReportDeadLetters(limited, &configv1.ReportDeadLettersRequest{Counts: some})
		cancel()
		if err != nil {
			return fmt.Errorf("report dead letters about to expire: %w", rpc.FaultFromStatus(err))
		}
	}
	a.next = next
	return nil
}

// count counts the dead letters that expire before a time and were not announced. It returns the sequence of the first
// that was not looked at.
func (a *Announcer) count(ctx context.Context, horizon time.Time) (map[announced]int64, uint64, error) {
	counts := make(map[announced]int64)
	for next := a.next; ; {
		part, err := a.Letters.List(ctx, natsbus.Selection{}, next, 0, page)
		if err != nil {
			return nil, 0, err
		}
		for _, letter := range part.Letters {
			if letter.Expires.IsZero() || !letter.Expires.Before(horizon) {
				return counts, letter.Sequence, nil
			}
			next = letter.Sequence + 1
			if !a.Operational(letter.Task.Trigger) {
				counts[announced{letter.Task.Organization, letter.Task.Webhook, letter.Expires.UTC().Truncate(day)}]++
			}
		}
		if part.Next == 0 {
			return counts, next, nil
		}
		next = part.Next
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-time.After(pause):
		}
	}
}
