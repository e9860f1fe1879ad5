package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/lifecycle"
)

// BucketMembers is the key-value bucket in which the instances of the services announce themselves, each under
// `<service>.<instance>`.
const BucketMembers = "MEMBERS"

const (
	// memberTTL is how long an instance counts after its last sign of life.
	memberTTL = 5 * time.Second
	// memberPoll is how often an instance looks who is there, and memberRenewal how often it shows itself.
	memberPoll    = 500 * time.Millisecond
	memberRenewal = 1500 * time.Millisecond
	// memberAbsence is how long an instance must not be seen before it is missed: all that live show themselves again
	// within it, also when their keys were lost.
	memberAbsence = 2 * memberRenewal
	// memberSettle is how long an instance that joins others waits: until they have seen it, and have used what they had
	// given out ahead of their part.
	memberSettle = memberPoll + 1100*time.Millisecond
	// memberRequest bounds one request.
	memberRequest = 2 * time.Second
)

// errMemberName is returned for names that are no token of a subject.
var errMemberName = errors.New("must be one or more of A-Z, a-z, 0-9, '-' and '_'")

// Membership knows how many instances of a service are alive, so that each can take its part of a limit that holds
// for all of them together. While NATS is away, what was last known holds.
type Membership struct {
	js       jetstream.JetStream
	service  string
	instance string
	replicas int
	logger   *slog.Logger

	// Only for the goroutine of Run.
	ensured bool
	renewed time.Time            // zero: it has not announced itself yet
	joined  time.Time            // when it first did
	outage  time.Time            // when NATS last did not answer
	away    bool                 // it does not answer now
	missing map[string]time.Time // since when instances have not been seen
	written map[string]exceeded  // limits of which it has told the others
	told    map[string]int       // what was last passed on of the others
	own     func() map[string]int
	others  func(map[string]int)

	mu       sync.Mutex
	members  []string // sorted; always with this instance
	onChange []func(rank, count int)
	settled  chan struct{} // closed when the number is known, and the others know of this instance
}

// NewMembership makes the membership of an instance of a service. Both names are part of a subject.
func NewMembership(js jetstream.JetStream, service, instance string, replicas int, logger *slog.Logger) (*Membership, error) {
	for _, name := range []string{service, instance} {
		if name == "" || strings.ContainsFunc(name, notInToken) {
			return nil, fmt.Errorf("member %q of %q: %w", instance, service, errMemberName)
		}
	}
	return &Membership{
		js: js, service: service, instance: instance, replicas: replicas, logger: logger,
		missing: make(map[string]time.Time), written: make(map[string]exceeded), members: []string{instance},
		settled: make(chan struct{}),
	}, nil
}

func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// Count is how many instances there are, this one included.
func (m *Membership) Count() int {
	_, count := m.Share()
	return count
}

// Share is how many instances there are, and which of them this is, counted from 0. All that see the same instances
// agree about it.
func (m *Membership) Share() (rank, count int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Index(m.members, m.instance), len(m.members)
}

// OnChange has a function called after each change of Share, one call at a time. It is to be called before Run.
func (m *Membership) OnChange(f func(rank, count int)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onChange = append(m.onChange, f)
}

// WaitJoined returns when the number of instances is known and the others have had the time to see this one: who
// begins then takes no more than its part. It returns the context's error.
func (m *Membership) WaitJoined(ctx context.Context) error {
	select {
	case <-m.settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run announces the instance, and follows the others, until the context ends; then it takes its name back.
func (m *Membership) Run(ctx context.Context) error {
	ticker := time.NewTicker(memberPoll)
	defer ticker.Stop()
	for {
		m.beat(ctx)
		select {
		case <-ctx.Done():
			m.leave(lifecycle.Grace(ctx))
			return nil
		case <-ticker.C:
		}
	}
}

// beat shows a sign of life when it is time to, and looks who is there.
func (m *Membership) beat(ctx context.Context) {
	err := m.announce(ctx)
	var alive []string
	if err == nil {
		alive, err = m.list(ctx)
	}
	now := time.Now()
	if err == nil {
		m.update(m.remember(alive, now))
		err = m.balance(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		m.missed(err, now)
		return
	}
	m.away = false
	// Of several that join at once each has announced itself before it looks: at most one finds itself alone.
	if m.Count() == 1 || now.Sub(m.joined) >= memberSettle {
		m.settle()
	}
}

// missed notes that NATS does not answer.
func (m *Membership) missed(err error, now time.Time) {
	m.outage = now
	if !m.away {
		m.away = true
		m.logger.Warn("instances cannot be counted; the last known number holds", "service", m.service, "count", m.Count(), "error", err)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		m.ensured = false // somebody removed the bucket
	}
}

// announce writes the instance's key.
func (m *Membership) announce(ctx context.Context) error {
	if time.Since(m.renewed) < memberRenewal {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, memberRequest)
	defer cancel()
	if !m.ensured {
		_, err := m.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: BucketMembers, Description: "The instances that are alive.", TTL: memberTTL, History: 1,
			Storage: jetstream.FileStorage, Replicas: m.replicas,
		})
		if err != nil {
			return fmt.Errorf("ensure bucket %s: %w", BucketMembers, err)
		}
		m.ensured = true
	}
	sent := time.Now()
	if _, err := m.js.Publish(ctx, memberSubject(m.service, m.instance), nil); err != nil {
		return fmt.Errorf("announce the instance: %w", err)
	}
	m.renewed = sent
	if m.joined.IsZero() {
		m.joined = time.Now()
	}
	return nil
}

// list asks who is there. The keys are asked for as subjects of the bucket's stream: that is one small request.
func (m *Membership) list(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, memberRequest)
	defer cancel()
	stream, err := m.js.Stream(ctx, membersStream)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", membersStream, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(memberSubject(m.service, AnyToken)))
	if err != nil {
		return nil, fmt.Errorf("list the instances: %w", err)
	}
	prefix := memberSubject(m.service, "")
	var alive []string
	for subject := range info.State.Subjects {
		alive = append(alive, strings.TrimPrefix(subject, prefix))
	}
	return alive, nil
}

// remember adds to those who are alive this instance, and those who may only not have shown themselves again yet.
// After NATS was away that can take longer.
func (m *Membership) remember(alive []string, now time.Time) []string {
	patience := memberAbsence
	if !m.outage.IsZero() && now.Sub(m.outage) < memberTTL {
		patience = memberTTL
	}
	missing := make(map[string]time.Time)
	m.mu.Lock()
	known := m.members
	m.mu.Unlock()
	for _, name := range known {
		if slices.Contains(alive, name) {
			continue
		}
		since, ok := m.missing[name]
		if !ok {
			since = now
		}
		if name == m.instance || now.Sub(since) < patience {
			missing[name] = since
			alive = append(alive, name)
		}
	}
	m.missing = missing
	slices.Sort(alive)
	return slices.Compact(alive)
}

// update takes in who is there.
func (m *Membership) update(alive []string) {
	m.mu.Lock()
	if slices.Equal(alive, m.members) {
		m.mu.Unlock()
		return
	}
	m.members = alive
	tell := slices.Clone(m.onChange)
	m.mu.Unlock()
	rank, count := m.Share()
	m.logger.Info("instances have changed", "service", m.service, "count", count)
	for _, f := range tell {
		f(rank, count)
	}
}

// settle lets WaitJoined return.
func (m *Membership) settle() {
	select {
	case <-m.settled:
	default:
		close(m.settled)
	}
}

// leave removes the instance's keys, so that the others need not wait until they have expired.
func (m *Membership) leave(ctx context.Context) {
	if m.renewed.IsZero() || !m.js.Conn().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, memberRequest)
	defer cancel()
	err := m.forget(ctx, []string{memberSubject(m.service, m.instance), exceedingSubject(m.service, m.instance, AnyToken, AnyToken)})
	if err != nil {
		m.logger.Warn("instance could not sign off and will be missed after a while", "service", m.service, "error", err)
	}
}

// membersStream is the stream behind the bucket.
const membersStream = "KV_" + BucketMembers

// memberSubject is where an instance's key is.
func memberSubject(service, instance string) string {
	return "$KV." + BucketMembers + "." + service + "." + instance
}
