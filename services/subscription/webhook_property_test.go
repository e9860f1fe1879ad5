package subscription_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"pgregory.net/rapid"

	wire "github.com/meetwire/meetwire/pkg/dialect"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// anyPolicy draws a retry policy, or none.
func anyPolicy(r *rapid.T) *subscriptionv1.RetryPolicy {
	p := &subscriptionv1.RetryPolicy{}
	switch rapid.IntRange(0, 2).Draw(r, "policy") {
	case 0:
		return nil
	case 1:
		p.Preset = subscriptionv1.RetryPolicy_Preset(rapid.Int32Range(1, 3).Draw(r, "preset"))
	default:
		p.MaxRetries = rapid.Int32Range(0, 30).Draw(r, "retries")
		p.Factor = rapid.SampledFrom([]float64{0, 1, 2.5, 10}).Draw(r, "factor")
		p.Jitter = rapid.SampledFrom([]float64{0, 0.1, 0.5}).Draw(r, "jitter")
	}
	if rapid.Bool().Draw(r, "gives up") {
		p.GiveUpAge = durationpb.New(time.Duration(rapid.IntRange(1, 30*24*60).Draw(r, "age")) * time.Minute)
	}
	return p
}

// anyThreshold draws a failure threshold, or none.
func anyThreshold(r *rapid.T) *subscriptionv1.FailureThreshold {
	f := &subscriptionv1.FailureThreshold{}
	switch rapid.IntRange(0, 4).Draw(r, "threshold") {
	case 0:
		return nil
	case 1:
		f.Off = true
	case 2:
		f.ConsecutiveFailures = rapid.Int32Range(1, 10_000).Draw(r, "failures")
	case 3:
		f.WithoutSuccess = durationpb.New(rapid.SampledFrom([]time.Duration{time.Minute, 5 * 24 * time.Hour}).Draw(r, "without"))
	}
	return f
}

// anyWebhook draws a webhook that no rule forbids.
func anyWebhook(r *rapid.T) *subscriptionv1.Webhook {
	names := slices.DeleteFunc(wire.Names(), func(name string) bool {
		return name == wire.Avoma // signs with the organization's secret, which there is not
	})
	dialect := rapid.SampledFrom(append(names, "")).Draw(r, "dialect")
	w := &subscriptionv1.Webhook{
		DisplayName: rapid.SampledFrom([]string{"hook", "Rückruf ✨"}).Draw(r, "name"), TargetUrl: "https://example.com/",
		Triggers: rapid.SampledFrom([][]string{{"meeting.booked"}, {"meeting.*", "contact.updated"}}).Draw(r, "triggers"),
		Dialect:  dialect, RetryPolicy: anyPolicy(r), FailureThreshold: anyThreshold(r),
		Status:         subscriptionv1.Webhook_Status(rapid.Int32Range(0, 2).Draw(r, "status")),
		MaxConcurrency: rapid.SampledFrom([]int32{0, 1, 1000}).Draw(r, "concurrency"),
		RateLimit:      rapid.SampledFrom([]float64{0, 0.01, 10_000}).Draw(r, "rate"),
		Description:    rapid.SampledFrom([]string{"", "a\nb"}).Draw(r, "description"),
		Filter:         rapid.SampledFrom([]string{"", "event.data.duration > 30"}).Draw(r, "filter"),
	}
	if dialect == "axcelerate" {
		w.DialectOptions = &subscriptionv1.DialectOptions{ClientId: rapid.Int64Range(0, 9).Draw(r, "client id")}
	}
	if dialect == "harmonizely" {
		w.SecretSource = subscriptionv1.Webhook_SecretSource(rapid.SampledFrom([]int32{0, 1, 3}).Draw(r, "source"))
	}
	if rapid.Bool().Draw(r, "more") {
		w.Headers, w.Metadata = []*subscriptionv1.Header{{Name: "X-A", Value: "a"}}, map[string]string{"k": "v"}
		w.AlertEmails, w.EventTypes = []string{"ops@example.com"}, []string{"intro"}
	}
	return w
}

func TestWhatWasReadCanBeSentBack(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.team(t, "sales")
	rapid.Check(t, func(r *rapid.T) {
		created, err := i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{
			Parent: "organizations/acme", Webhook: anyWebhook(r),
		})
		require.NoError(r, err)
		read := i.get(t, created.GetName())
		before := i.revision(t)
		for _, mask := range []*fieldmaskpb.FieldMask{nil, {Paths: []string{"*"}}} {
			again, err := i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{Webhook: read, UpdateMask: mask})
			require.NoError(r, err)
			require.True(r, proto.Equal(read, again), "%v\n%v", read, again)
		}
		require.Equal(r, before, i.revision(t), "that changed nothing")

		// One that is made of what was read is the same.
		copied := proto.CloneOf(read)
		for _, h := range copied.GetHeaders() {
			h.Value = "a"
		}
		second, err := i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: copied})
		require.NoError(r, err)
		requireSame(t, read, second)
	})
}
