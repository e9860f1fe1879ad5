package core_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// mixed is live tasks and tasks of the lane bulk, and what became of them. A step ends when nothing moves any more.
type mixed struct {
	slots *core.Slots
	total bool // tasks wait for slots of the process, not for those of their webhook

	mu      sync.Mutex
	step    int
	tasks   []*mixedTask
	release []chan struct{} // of attempts under way
	active  map[string]int
}

type mixedTask struct {
	webhook           string
	bulk              bool
	asked, began      int // steps; 0: not yet
	calls             int
	activeThen, aways int
}

func (m *mixed) take(webhook string, limits core.Limits, turn core.Turn, verdict core.Verdict) {
	m.mu.Lock()
	task := &mixedTask{webhook: webhook, bulk: turn.Bulk, asked: m.step}
	m.tasks = append(m.tasks, task)
	m.mu.Unlock()
	turn.Delivery = fmt.Sprint(len(m.tasks))
	turn.Away = func(time.Time) {
		m.mu.Lock()
		defer m.mu.Unlock()
		task.calls++
		task.aways++
	}
	turn.Run = func() core.Verdict {
		release := make(chan struct{})
		m.mu.Lock()
		task.calls++
		task.began = m.step
		m.active[task.key()]++
		task.activeThen = m.active[task.key()]
		m.release = append(m.release, release)
		m.mu.Unlock()
		<-release
		m.mu.Lock()
		m.active[task.key()]--
		m.mu.Unlock()
		return verdict
	}
	m.slots.Take(webhook, limits, turn)
}

func (t *mixedTask) key() string { return fmt.Sprint(t.webhook, t.bulk) }

// end lets one of the attempts under way end, and reports whether there was one.
func (m *mixed) end(which int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.release) == 0 {
		return false
	}
	which %= len(m.release)
	close(m.release[which])
	m.release = append(m.release[:which], m.release[which+1:]...)
	return true
}

// endAll lets all attempts end, also those that follow.
func (m *mixed) endAll() {
	for m.end(0) {
		m.settle()
	}
	m.slots.Wait()
}

// settle lets everything move that can, and begins the next step.
func (m *mixed) settle() {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.step++
}

// overtakers is how many tasks of the lane bulk began while a live one waited, and how many live ones.
func (m *mixed) overtakers(waited *mixedTask) (bulk, live int) {
	for _, other := range m.tasks {
		switch {
		case other == waited, other.webhook != waited.webhook && !m.total:
		case other.bulk && other.began > waited.asked && other.began < waited.began:
			bulk++
		case !other.bulk && other.began >= waited.asked && other.began <= waited.began:
			live++
		}
	}
	return bulk, live
}

// Whatever comes and whatever it does, a live task waits for no more of the lane bulk than are under way and one of
// ten; nothing is above its limits; and everything has its turn or is told when to come again.
func TestLiveTasksNeverWaitForTheLaneBulk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { rapid.Check(bubble{t}, checkMixed) })
}

// bubble is a test in a bubble, where nobody may ask it for its deadline.
type bubble struct{ *testing.T }

func checkMixed(t *rapid.T) {
	c := newClock()
	m := &mixed{step: 1, active: make(map[string]int), total: rapid.Bool().Draw(t, "of the process")}
	limits, total := core.Limits{Concurrency: rapid.IntRange(1, 8).Draw(t, "limit")}, 1000
	verdicts := []core.Verdict{core.VerdictNone, core.VerdictSuccess, core.VerdictSuccess, core.VerdictFailure, core.VerdictTimeout}
	if m.total {
		limits.Concurrency, total = 100, rapid.IntRange(1, 8).Draw(t, "total")
		verdicts = verdicts[:3] // webhooks that time out wait for others of their kind, too
	}
	m.slots = core.NewSlots(1000, c.now, core.WithTotal(total))
	defer m.endAll() // also when it fails
	verdict, webhook := rapid.SampledFrom(verdicts), rapid.SampledFrom([]string{"a", "b"})
	take := func(t *rapid.T) {
		turn := core.Turn{Bulk: rapid.Bool().Draw(t, "bulk"), Reserved: rapid.Bool().Draw(t, "reserved")}
		to := webhook.Draw(t, "webhook")
		for range rapid.IntRange(1, 20).Draw(t, "tasks") {
			m.take(to, limits, turn, verdict.Draw(t, "verdict"))
		}
		m.settle()
	}
	end := func(t *rapid.T) {
		m.end(rapid.IntRange(0, 100).Draw(t, "attempt"))
		m.settle()
	}
	t.Repeat(map[string]func(*rapid.T){
		"take": take, "end": end, "end another": end, "end one more": end,
		"let time pass": func(t *rapid.T) { c.advance(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "time"))) },
		"sweep": func(*rapid.T) {
			m.slots.Sweep()
			m.settle()
		},
		"": func(t *rapid.T) {
			load := m.slots.Load()
			require.LessOrEqual(t, load.Active, total)
			require.LessOrEqual(t, load.Bulk, max(total/2, 1))
			if load.Active == 0 {
				require.Zero(t, load.Waiting, "nobody waits for nothing")
			}
		},
	})
	m.endAll()
	for i, task := range m.tasks {
		require.Equal(t, 1, task.calls, "task %d", i)
		most := limits.Concurrency
		if task.bulk {
			most = max(most/2, 1)
		}
		require.LessOrEqual(t, task.activeThen, most)
		if bulk, live := m.overtakers(task); !task.bulk && task.aways == 0 {
			require.LessOrEqual(t, bulk, 1+live/9, "task %d", i)
		}
	}
	load := m.slots.Load()
	require.Zero(t, load.Active+load.Bulk+load.Suspects+load.Waiting)
}
