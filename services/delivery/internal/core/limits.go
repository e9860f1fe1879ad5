package core

import (
	"math"
	"time"
)

// Limits bounds the attempts of one webhook.
type Limits struct {
	Concurrency int     // how many may be under way at once; 0: as many as one webhook may have in this process
	Rate        float64 // how many may begin per second, on average; 0: no limit
}

// share is the part of the limits that one process has, of several that make attempts of the webhook: which one,
// counted from 0. What the parts allow together is what the limits allow: where there are fewer slots than processes,
// some have none. The concurrency must be limited.
func (l Limits) share(rank, count int) Limits {
	part := l.Concurrency / count
	if rank < l.Concurrency%count {
		part++
	}
	l.Concurrency = part
	l.Rate /= float64(count)
	return l
}

// burstTime is for how long a webhook that was idle may save up the beginnings that its rate allows. In any second
// there are then at most a tenth more than the rate.
const burstTime = time.Second / 10

// rate gives out times at which attempts may begin (the generic cell rate algorithm): it keeps only the time at which
// the next one would begin if they came evenly.
type rate struct {
	perSecond float64
	next      time.Time
}

// set changes how many may begin per second. What was given out before still begins then: the next comes after the last
// of them as it does under the new rate.
func (r *rate) set(perSecond float64) {
	before := r.interval()
	r.perSecond = perSecond
	r.next = r.next.Add(r.interval() - before)
}

// interval is the time between two beginnings; 0: there is no limit.
func (r *rate) interval() time.Duration {
	if r.perSecond <= 0 {
		return 0
	}
	return time.Duration(min(float64(time.Second)/r.perSecond, math.MaxInt64/2))
}

// wait is how long the n-th from now must wait, counted from 1.
func (r *rate) wait(n int, now time.Time) time.Duration {
	interval := r.interval()
	if interval == 0 {
		return 0
	}
	ahead := r.next.Sub(now) - max(burstTime-interval, 0)
	if r.next.Before(now) {
		ahead = -max(burstTime-interval, 0)
	}
	if interval > maxReservation {
		n = min(n, 2) // else the product could be more than a duration holds
	}
	return max(ahead+time.Duration(n-1)*interval, 0)
}

// take gives out the next beginning and returns how long to wait for it.
func (r *rate) take(now time.Time) time.Duration {
	interval := r.interval()
	if interval == 0 {
		return 0
	}
	wait := r.wait(1, now)
	if r.next.Before(now) {
		r.next = now
	}
	r.next = r.next.Add(interval)
	return wait
}
