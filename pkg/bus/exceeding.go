package bus

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// maxExceeding bounds what one instance tells the others of: the rest ends by itself.
const maxExceeding = 1000

// Balance has instances tell each other by how much they are above their parts of what limits: a new instance leaves an
// equally large part of its own unused until what was begun before it came has ended. What own returns is by the name of
// each limit, a token of a subject; others is told the sum of what the other instances say, after each change. It is to be
// called before Run.
func (m *Membership) Balance(own func() map[string]int, others func(map[string]int)) {
	m.own, m.others = own, others
}

// maxOutdated bounds the keys that are removed at a time: the others expire.
const maxOutdated = 100

// balance tells the others, and asks them.
func (m *Membership) balance(ctx context.Context) error {
	if m.own == nil || m.Count() == 1 && len(m.told) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, memberRequest)
	defer cancel()
	if err := m.exceed(ctx); err != nil {
		return fmt.Errorf("tell of limits that are exceeded: %w", err)
	}
	stream, err := m.js.Stream(ctx, membersStream)
	if err != nil {
		return fmt.Errorf("open stream %s: %w", membersStream, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(exceedingSubject(m.service, AnyToken, AnyToken, AnyToken)))
	if err != nil {
		return fmt.Errorf("list limits that are exceeded: %w", err)
	}
	if sum := m.sum(info.State.Subjects); !maps.Equal(sum, m.told) {
		m.told = sum
		m.others(maps.Clone(sum))
	}
	return nil
}

// exceed writes a key for each limit that this instance exceeds, and after that removes the one that says more than it does
// now: the others must not see none in between. What is not written again is forgotten with the time.
func (m *Membership) exceed(ctx context.Context) error {
	if m.Count() == 1 {
		return nil
	}
	own := m.own()
	var acks []jetstream.PubAckFuture
	var outdated []string
	for name, written := range m.written {
		if own[name] < written.by && len(outdated) < maxOutdated {
			outdated = append(outdated, exceedingSubject(m.service, m.instance, name, strconv.Itoa(written.by)))
			delete(m.written, name)
		}
	}
	for name, by := range own {
		written := m.written[name]
		if by == written.by && time.Since(written.at) < memberRenewal {
			continue
		}
		if len(acks) == maxExceeding {
			break
		}
		ack, err := m.js.PublishAsync(exceedingSubject(m.service, m.instance, name, strconv.Itoa(by)), nil)
		if err != nil {
			clear(m.written)
			return err //nolint:wrapcheck // by the caller
		}
		acks = append(acks, ack)
		m.written[name] = exceeded{by, time.Now()}
	}
	maps.DeleteFunc(m.written, func(_ string, written exceeded) bool { return time.Since(written.at) > memberTTL })
	for _, ack := range acks {
		if _, err := Await(ctx, ack); err != nil {
			clear(m.written)
			return err
		}
	}
	return m.forget(ctx, outdated)
}

// forget removes keys.
func (m *Membership) forget(ctx context.Context, subjects []string) error {
	if len(subjects) == 0 {
		return nil
	}
	stream, err := m.js.Stream(ctx, membersStream)
	for _, subject := range subjects {
		if err == nil {
			err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
	}
	return err //nolint:wrapcheck // by the caller
}

// exceeded is what was written of a limit, and when.
type exceeded struct {
	by int
	at time.Time
}

// sum adds up what the other instances exceed. Of several keys of one, which has exceeded a limit by less and less, the
// largest counts.
func (m *Membership) sum(subjects map[string]uint64) map[string]int {
	type limit struct{ instance, name string }
	largest := make(map[limit]int)
	prefix := memberSubject(m.service, "")
	for subject := range subjects {
		tokens := strings.Split(strings.TrimPrefix(subject, prefix), ".")
		if len(tokens) != 3 || tokens[0] == m.instance {
			continue
		}
		by, err := strconv.Atoi(tokens[2])
		if err != nil {
			continue // nobody but an instance writes here
		}
		key := limit{tokens[0], tokens[1]}
		largest[key] = max(largest[key], by)
	}
	sum := make(map[string]int)
	for key, by := range largest {
		sum[key.name] += by
	}
	return sum
}

// exceedingSubject is where an instance says by how much it exceeds a limit.
func exceedingSubject(service, instance, name, by string) string {
	return memberSubject(service, instance) + "." + name + "." + by
}
