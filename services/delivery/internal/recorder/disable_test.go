package recorder_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

const disabling = "DISABLE consecutive_failures"

// change configures a webhook anew.
func (e *env) change(id string, generation int64, status core.Status, threshold core.Threshold) {
	e.configuration.put(&core.Webhook{ID: id, Organization: "acme", Generation: generation, Status: status, Threshold: threshold})
}

// count is how often a webhook was told of.
func (s *subscription) count(webhook string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, report := range s.health {
		if report.GetWebhook() == webhook {
			n++
		}
	}
	return n
}

// answer has the first calls fail, and what is told of a webhook have its effect again.
func (s *subscription) answer(fails int, webhook string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
	delete(s.refuses, webhook)
}

// failures is how many in a row are counted of a webhook.
func failures(t *testing.T, store *pgstore.Store, webhook string) *core.Health {
	t.Helper()
	health, err := store.Health(newContext(t), "acme", uuid.MustParse(webhook))
	require.NoError(t, err)
	return health
}

// A threshold that is changed while it is passed: what counts is the one that there is when it is reported.
func TestDisablingWithoutEffectDoesNotEndTheCounting(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	const f = core.ErrorStatus
	off, raised := e.webhook(1, core.Threshold{Consecutive: 3}), e.webhook(1, core.Threshold{Consecutive: 3})
	// Here it is not yet known that it is off, in subscription it is.
	s := &subscription{refuses: map[string]bool{off: true}}
	store := pgstore.New(pool)
	run(t, grace, e.reporting(pool, s, now))
	e.attempts(t, off, 1, f, f, f)
	require.Eventually(t, func() bool { return slices.Contains(s.levels(off), disabling) }, patience, tick)
	e.change(off, 1, core.StatusActive, core.Threshold{})
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		require.Zero(c, failures(t, store, off).Reached&core.LevelDisable)
	}, patience, tick)

	// On again, with successes in between.
	s.answer(0, off)
	e.change(off, 1, core.StatusActive, core.Threshold{Consecutive: 4})
	e.attempts(t, off, 1, "", f, f, f)
	e.requireSettled(t, pool)
	require.EqualValues(t, 3, failures(t, store, off).ConsecutiveFailures)
	disablings := func() (n int) {
		for _, level := range s.levels(off) {
			if level == disabling {
				n++
			}
		}
		return n
	}
	before := disablings() // what was told below that may be under way
	e.attempts(t, off, 1, f)
	require.Eventually(t, func() bool { return disablings() > before }, patience, tick)

	// Passed, and raised before it could be reported.
	s.answer(1<<30, "")
	e.attempts(t, raised, 1, f, f, f)
	e.requireSettled(t, pool)
	require.NotZero(t, failures(t, store, raised).Reached&core.LevelDisable)
	e.change(raised, 1, core.StatusActive, core.Threshold{Consecutive: 10})
	s.answer(0, "")
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		health := failures(t, store, raised)
		require.Zero(c, health.Reached&core.LevelDisable)
		require.Equal(c, health.Reached, health.Reported)
	}, patience, tick)
	require.NotContains(t, s.levels(raised), disabling)
}

// What waits for a paused webhook is kept, whatever became of the attempts that were under way.
func TestPausedWebhookIsNotDisabled(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	const f = core.ErrorStatus
	threshold := core.Threshold{Consecutive: 3}
	under, reached, other := e.webhook(1, threshold), e.webhook(1, threshold), e.webhook(1, threshold)
	s := &subscription{fails: 1 << 30}
	store := pgstore.New(pool)
	run(t, grace, e.reporting(pool, s, now))
	e.attempts(t, under, 1, f, f)
	e.attempts(t, reached, 1, f, f, f)
	e.requireSettled(t, pool)
	e.change(under, 1, core.StatusPaused, threshold)
	e.change(reached, 1, core.StatusPaused, threshold)
	e.attempts(t, under, 1, f, f, f, f)
	e.requireSettled(t, pool)
	require.EqualValues(t, 2, failures(t, store, under).ConsecutiveFailures)

	before := s.count(reached)
	s.answer(0, "")
	e.attempts(t, other, 1, f, f, f)
	require.Eventually(t, func() bool { return slices.Contains(s.levels(other), disabling) }, patience, tick)
	require.NotContains(t, s.levels(under), disabling)
	require.LessOrEqual(t, s.count(reached), before+1, "one may have been under way")

	// Resumed, it has a new generation.
	e.change(under, 2, core.StatusActive, threshold)
	e.attempts(t, under, 2, f, f, f)
	require.Eventually(t, func() bool { return slices.Contains(s.levels(under), disabling) }, patience, tick)
}

func TestOneReportThatFailsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	const f = core.ErrorStatus
	s := &subscription{breaks: make(map[string]bool)}
	var all []string
	for range 20 {
		webhook := e.webhook(1, core.Threshold{Consecutive: 2})
		all = append(all, webhook)
		e.attempts(t, webhook, 1, f, f)
	}
	for _, webhook := range all[:10] {
		s.breaks[webhook] = true
	}
	run(t, grace, e.reporting(pool, s, now))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for _, webhook := range all {
			require.Contains(c, s.levels(webhook), disabling)
		}
	}, patience, tick)
	store := pgstore.New(pool)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		due, err := store.DueHealth(newContext(t), uuid.Nil, 100)
		require.NoError(c, err)
		require.Len(c, due, 10)
		for _, health := range due {
			require.Contains(c, all[:10], health.Webhook.String())
		}
	}, patience, tick)
}
