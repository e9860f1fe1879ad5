// Package alerts owns the sending of the e-mails that tell people of a webhook that fails: it takes them from a queue,
// tries each again while that is of use, and gives up after a day. It must not decide when there is one, and its logs
// name no addresses.
package alerts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/mail"
)

const (
	// batch is how many e-mails are taken over at once: what nobody works on must not wait for the end of a lease.
	batch = 1
	// lease is for how long one is taken over: sending it takes at most mail's time-out of 5 minutes.
	lease = 10 * time.Minute
	// poll is how often it is looked for e-mails that are due.
	poll = 2 * time.Second
	// firstWait and maxWait bound the waits between tries; each is twice as long as the one before.
	firstWait = 30 * time.Second
	maxWait   = time.Hour
	// giveUpAge is for how long an e-mail is tried.
	giveUpAge = 24 * time.Hour
	// settleTimeout bounds storing what has become of an e-mail, also when the service stops.
	settleTimeout = 5 * time.Second
)

// Store keeps the queue of e-mails.
type Store interface {
	// TakeMail takes over at most limit e-mails that are due. Who does not settle one within the lease has died.
	TakeMail(ctx context.Context, lease time.Duration, limit int) ([]core.Mail, error)
	// SettleMail says when an e-mail is to be tried again, and to whom; never, with the zero time: it is sent, or given
	// up.
	SettleMail(ctx context.Context, m core.Mail, next time.Time) error
}

// Sender sends an e-mail; its errors are those of mail.Sender.
type Sender interface {
	Send(ctx context.Context, m mail.Message) error
}

// Config is what a Mailer is made of. All of it but ConsoleURL is required.
type Config struct {
	Store      Store
	Sender     Sender
	ConsoleURL string // shown in e-mails
	Logger     *slog.Logger
	Registry   prometheus.Registerer
	Now        func() time.Time
	Poll       time.Duration // how often it is looked for what is due; 0: 2 s
}

// Mailer sends what is in the queue.
type Mailer struct {
	cfg  Config
	sent *prometheus.CounterVec
}

// New returns a mailer.
func New(cfg Config) (*Mailer, error) {
	if cfg.Store == nil || cfg.Sender == nil || cfg.Logger == nil || cfg.Registry == nil || cfg.Now == nil {
		return nil, errors.New("a store, a sender, a logger, a registry and a clock are required")
	}
	if cfg.Poll == 0 {
		cfg.Poll = poll
	}
	m := &Mailer{cfg: cfg, sent: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meetwire_mails_total", Help: "Alert e-mails by what became of a try: sent, later or given_up.",
	}, []string{"result"})}
	if err := cfg.Registry.Register(m.sent); err != nil {
		return nil, fmt.Errorf("register a metric of the alerts: %w", err)
	}
	return m, nil
}

// Run sends e-mails until the context ends.
func (m *Mailer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		mails, err := m.cfg.Store.TakeMail(ctx, lease, batch)
		if err != nil && ctx.Err() == nil {
			m.cfg.Logger.WarnContext(ctx, "queue of e-mails not read", "error", err)
		}
		for _, one := range mails {
			m.send(ctx, one)
		}
		if len(mails) < batch { // else there may be more
			m.wait(ctx)
		}
	}
	return nil
}

// wait waits until it is time to look for e-mails again, or the context ends.
func (m *Mailer) wait(ctx context.Context) {
	timer := time.NewTimer(m.cfg.Poll)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// send tries one e-mail and stores what has become of it.
func (m *Mailer) send(ctx context.Context, one core.Mail) {
	message := mail.Compose(m.alert(one.Alert))
	message.ID, message.To = one.ID, one.Recipients
	next, result := time.Time{}, "sent"
	if err := m.trySend(ctx, message); err != nil {
		next, result = m.failed(ctx, &one, err)
	}
	m.sent.WithLabelValues(result).Inc()
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := m.cfg.Store.SettleMail(settle, one, next); err != nil {
		// It is sent again after the lease: rather twice than not at all.
		m.cfg.Logger.WarnContext(ctx, "e-mail not settled", "mail_id", one.ID, "error", err)
	}
}

func (m *Mailer) trySend(ctx context.Context, message mail.Message) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return m.cfg.Sender.Send(ctx, message)
}

// failed decides what to do after a failure: try again at the time that it returns, for those of the recipients who
// have not got it, or not at all. The text of the error is not logged, since servers like to repeat addresses in it.
func (m *Mailer) failed(ctx context.Context, one *core.Mail, err error) (next time.Time, result string) {
	now := m.cfg.Now()
	if ctx.Err() != nil {
		return now, "later" // we were told to stop: this try says nothing
	}
	var failure *mail.Error
	again := one.Recipients
	if errors.As(err, &failure) {
		again = failure.Again
	} else if permanent(err) {
		again = nil
	}
	logger := m.cfg.Logger.With("mail_id", one.ID, "webhook", one.Alert.Webhook, "attempt", one.Attempts, "reason", reason(err))
	if len(again) == 0 || now.Sub(one.CreateTime) >= giveUpAge {
		logger.ErrorContext(ctx, "e-mail given up", "recipients", len(one.Recipients))
		return time.Time{}, "given_up"
	}
	wait := maxWait
	if doublings := one.Attempts - 1; doublings < 10 {
		wait = min(firstWait<<max(doublings, 0), maxWait)
	}
	logger.WarnContext(ctx, "e-mail not sent and will be tried again", "recipients", len(again), "wait", wait)
	one.Recipients = again
	return now.Add(wait), "later"
}

// alert is what an e-mail is composed of.
func (m *Mailer) alert(a core.Alert) mail.Alert {
	return mail.Alert{
		Kind: mail.Kind(a.Level), Organization: a.Organization, OrganizationName: a.OrganizationName,
		WebhookName: a.WebhookName, WebhookResource: "organizations/" + a.Organization + "/webhooks/" + a.Webhook,
		TargetURL: a.TargetURL, Reason: a.Reason, Failures: a.ConsecutiveFailures, Since: a.FailingSince,
		Threshold:      mail.DescribeThreshold(a.MaxFailures, a.MaxWithoutSuccess),
		LastErrorClass: a.LastErrorClass, LastStatus: int(a.LastStatus), At: a.Time, ConsoleURL: m.cfg.ConsoleURL,
	}
}
