package grpcapi

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// maxRetryAfter bounds how long a caller is told to wait: a quota may be raised before.
const maxRetryAfter = time.Hour

// Quotas holds organizations to how many events they may publish. Each of the instances of ingest that live counts for
// itself, and takes its part of the quota.
type Quotas struct {
	organization func(id string) *configv1.Organization
	instances    func() int
	now          func() time.Time

	mu       sync.Mutex
	limiters map[string]*rate.Limiter
}

// NewQuotas makes quotas that are as configured at the moment of each call; nil is an organization that does not
// exist, and has none. They are shared by as many instances as there are at that moment, this one included.
func NewQuotas(organization func(id string) *configv1.Organization, instances func() int, now func() time.Time) *Quotas {
	return &Quotas{organization: organization, instances: instances, now: now, limiters: make(map[string]*rate.Limiter)}
}

// Take counts an event of an organization. It returns fault.ResourceExhausted, with the time after which there is
// room for another one, when the quota is used up.
func (q *Quotas) Take(organization string) error {
	quota := q.organization(organization).GetIngestQuota()
	q.mu.Lock()
	defer q.mu.Unlock()
	if quota == nil {
		delete(q.limiters, organization)
		return nil
	}
	share := max(q.instances(), 1)
	now, perSecond := q.now(), rate.Limit(max(quota.GetEventsPerSecond(), 0)/float64(share))
	burst := max(int(quota.GetBurst())/share, 1)
	limiter := q.limiters[organization]
	if limiter == nil {
		limiter = rate.NewLimiter(perSecond, burst)
		q.limiters[organization] = limiter
	}
	if limiter.Limit() != perSecond {
		limiter.SetLimitAt(now, perSecond)
	}
	if limiter.Burst() != burst {
		limiter.SetBurstAt(now, burst)
	}
	if limiter.AllowN(now, 1) {
		return nil
	}
	e := fault.New(fault.ResourceExhausted, "INGEST_QUOTA_EXCEEDED",
		"organization %s may publish %g events per second, and %d at once", organization, quota.GetEventsPerSecond(), quota.GetBurst())
	e.Fields = []fault.Field{{Path: "parent", Rule: "ingest_quota", Message: e.Message}}
	e.RetryAfter = maxRetryAfter
	if perSecond > 0 {
		missing := (1 - limiter.TokensAt(now)) / float64(perSecond)
		e.RetryAfter = time.Duration(min(missing, maxRetryAfter.Seconds()) * float64(time.Second))
	}
	e.RetryAfter = max(e.RetryAfter, time.Millisecond)
	return e
}
