package subscription

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/subscription/internal/mail"
	"github.com/meetwire/meetwire/services/subscription/internal/plans"
)

// Limits and defaults of the configuration.
const (
	minFeedRetention     = time.Hour
	defaultFeedRetention = 7 * 24 * time.Hour // as the tag says
)

// MailConfig says how alert e-mails are sent. Its zero value sends none.
type MailConfig = mail.Config

// Config is what an installation decides about the subscription service. Secrets are better given by the
// environment than by flags, which others on the machine can see.
type Config struct {
	GRPCAddr       string         `help:"Address to serve gRPC on." name:"grpc-addr" default:"127.0.0.1:9001" env:"MEETWIRE_GRPC_ADDR"`
	OperatorKey    secret.String  `help:"API key of the operator, mwk_<id>_<secret>. The one of an earlier start is revoked; without a value there is none." env:"MEETWIRE_OPERATOR_KEY"`
	ServiceToken   secret.String  `help:"Token that services know each other by; at least 32 characters." env:"MEETWIRE_SERVICE_TOKEN"`
	Keyset         secret.String  `help:"Keyset that webhook secrets are encrypted with." env:"MEETWIRE_KEYSET"`
	Migrate        bool           `help:"Bring the database schema up to date at the start." default:"true" negatable:"" env:"MEETWIRE_MIGRATE"`
	FeedRetention  time.Duration  `help:"How long other services can catch up with changes without loading everything anew; at least 1h. 0: 168h." default:"168h" env:"MEETWIRE_FEED_RETENTION"`
	IngestAddr     string         `help:"Address of ingest's gRPC." default:"127.0.0.1:9002" env:"MEETWIRE_INGEST_ADDR"`
	DeliveryAddr   string         `help:"Address of delivery's gRPC." default:"127.0.0.1:9003" env:"MEETWIRE_DELIVERY_ADDR"`
	Plans          string         `help:"Plans of organizations: path of a YAML or JSON file, or JSON itself. Without a value: startup (no webhooks), organization (20 webhooks per trigger), enterprise (no limit)." env:"MEETWIRE_PLANS"`
	DefaultPlan    string         `help:"Plan of new organizations." default:"enterprise" env:"MEETWIRE_DEFAULT_PLAN"`
	AllowedTargets []netip.Prefix `help:"Prefixes of addresses, beside public ones, that webhooks may point to." env:"MEETWIRE_ALLOWED_TARGETS"`
	Mail           MailConfig     `embed:""`
}

// Validate reports everything that is wrong. No error shows a secret.
func (c *Config) Validate() error {
	var all []error
	if !c.OperatorKey.IsZero() {
		if _, _, ok := rpc.ParseKey(c.OperatorKey.Reveal()); !ok {
			all = append(all, errors.New("operator-key (MEETWIRE_OPERATOR_KEY): must be an API key, mwk_<id>_<secret>"))
		}
	}
	all = append(all, rpc.CheckServiceToken(c.ServiceToken))
	if c.Keyset.IsZero() {
		all = append(all, errors.New("keyset (MEETWIRE_KEYSET): is required"))
	} else if _, err := seal.New(c.Keyset); err != nil {
		all = append(all, fmt.Errorf("keyset (MEETWIRE_KEYSET): %w", err))
	}
	if c.FeedRetention != 0 && c.FeedRetention < minFeedRetention {
		all = append(all, fmt.Errorf("feed-retention (MEETWIRE_FEED_RETENTION): must be at least %s", minFeedRetention))
	}
	if _, err := plans.Load(c.Plans, c.DefaultPlan); err != nil {
		all = append(all, fmt.Errorf("plans (MEETWIRE_PLANS, MEETWIRE_DEFAULT_PLAN): %w", err))
	}
	all = append(all, c.Mail.Validate())
	return errors.Join(all...)
}
