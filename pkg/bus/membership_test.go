package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
)

// member is a running instance, and the numbers it was told.
type member struct {
	*bus.Membership
	*running
	mu     sync.Mutex
	counts []int
}

// least is the smallest number it was told so far.
func (m *member) least() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	least := m.counts[0]
	for _, n := range m.counts {
		least = min(least, n)
	}
	return least
}

// forget forgets what it was told, but for the number now.
func (m *member) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts = []int{m.Count()}
}

func join(t *testing.T, url, service, instance string, replicas int) *member {
	t.Helper()
	_, js := connect(t, url)
	membership, err := bus.NewMembership(js, service, instance, replicas, discard())
	require.NoError(t, err)
	m := &member{Membership: membership, counts: []int{membership.Count()}}
	membership.OnChange(func(_, count int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.counts = append(m.counts, count)
	})
	m.running = run(t, membership.Run)
	return m
}

// joinAll runs instances and waits until they know each other.
func joinAll(t *testing.T, url string, n, replicas int) []*member {
	t.Helper()
	members := make([]*member, n)
	for i := range members {
		members[i] = join(t, url, "delivery", fmt.Sprintf("instance-%d", i), replicas)
	}
	for _, m := range members {
		require.NoError(t, m.WaitJoined(newContext(t)))
	}
	requireCount(t, members, n)
	return members
}

// requireCount waits until all of them know of n, and each of its own place among them.
func requireCount(t *testing.T, members []*member, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		ranks := make(map[int]bool)
		for _, m := range members {
			rank, count := m.Share()
			if count != n {
				return false
			}
			ranks[rank] = true
		}
		return len(ranks) == len(members)
	}, patience, tick)
}

func TestMembersCountEachOther(t *testing.T) {
	t.Parallel()
	e := setup(t)
	alone := join(t, e.server.URL(), "ingest", "instance-0", 1)
	require.Equal(t, 1, alone.Count(), "before it knows anything")
	joinAll(t, e.server.URL(), 3, 1)
	require.Equal(t, 1, alone.Count(), "it is of another service")
}

func TestMemberThatLeavesIsForgottenAtOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	members := joinAll(t, e.server.URL(), 2, 1)
	require.NoError(t, members[0].stop(t))
	bucket, err := e.js.KeyValue(newContext(t), bus.BucketMembers)
	require.NoError(t, err)
	_, err = bucket.Get(newContext(t), "delivery.instance-0")
	require.ErrorIs(t, err, jetstream.ErrKeyNotFound)
	requireCount(t, members[1:], 1)
}

func TestMemberThatDiesIsForgottenAfterAWhile(t *testing.T) {
	t.Parallel()
	e := setup(t)
	members := joinAll(t, e.server.URL(), 1, 1)
	bucket, err := e.js.KeyValue(newContext(t), bus.BucketMembers)
	require.NoError(t, err)
	_, err = bucket.Put(newContext(t), "delivery.dead", nil) // the only sign of life that there will be
	require.NoError(t, err)
	requireCount(t, members, 2)
	requireCount(t, members, 1)
}

func TestMembersKeepTheirNumberWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	members := joinAll(t, e.server.URL(), 3, 1)
	for _, m := range members {
		m.forget()
	}
	e.server.Shutdown()
	e.server.Restart(t)
	late := join(t, e.server.URL(), "delivery", "late", 1)
	requireCount(t, append(members, late), 4)
	for _, m := range members {
		require.GreaterOrEqual(t, m.least(), 3, "nobody takes the part of those who have not come back yet")
	}

	// One that died while NATS was away is missed later.
	e.server.Shutdown()
	require.NoError(t, members[0].stop(t))
	e.server.Restart(t)
	requireCount(t, append(members[1:], late), 3)
}

func TestMembersOutliveANodeOfTheCluster(t *testing.T) {
	t.Parallel()
	cluster := natstest.Cluster(t, 3)
	members := joinAll(t, cluster.URL(), 3, 3)
	for _, m := range members {
		m.forget()
	}
	leader := cluster.Leader()
	cluster.Kill(leader)
	late := join(t, cluster.URL(), "delivery", "late", 3)
	requireCount(t, append(members, late), 4)
	for _, m := range members {
		require.GreaterOrEqual(t, m.least(), 3)
	}
}

func TestMemberMakesTheBucketAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	members := joinAll(t, e.server.URL(), 3, 1)
	for _, m := range members {
		m.forget()
	}
	require.NoError(t, e.js.DeleteKeyValue(newContext(t), bus.BucketMembers))
	late := join(t, e.server.URL(), "delivery", "late", 1)
	requireCount(t, append(members, late), 4)
	for _, m := range members {
		require.GreaterOrEqual(t, m.least(), 3, "nobody takes the part of those whose keys are lost")
	}
}

func TestMemberWithoutNATSIsAlone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.server.Shutdown()
	membership, err := bus.NewMembership(e.js, "delivery", "a", 1, discard())
	require.NoError(t, err)
	r := run(t, membership.Run)
	rank, count := membership.Share()
	require.Equal(t, 0, rank)
	require.Equal(t, 1, count)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, membership.WaitJoined(ctx), context.DeadlineExceeded)
	require.NoError(t, r.stop(t))
}

func TestMemberNamesAreTokens(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, name := range []string{"", "a.b", "*", ">", "a b", "ä"} {
		_, err := bus.NewMembership(e.js, name, "a", 1, discard())
		require.Error(t, err, "%q", name)
		_, err = bus.NewMembership(e.js, "delivery", name, 1, discard())
		require.Error(t, err, "%q", name)
	}
}
