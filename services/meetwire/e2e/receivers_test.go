package e2e_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// TestReceivers sends webhooks in every dialect to receivers that were written for it and know nothing of Meetwire.
func TestReceivers(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	tested := map[string]bool{}
	for _, c := range receiverCases() {
		tested[c.dialect] = true
	}
	require.ElementsMatch(t, dialect.Names(), slices.Collect(maps.Keys(tested)), "a dialect without a receiver")
	for _, c := range receiverCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, i)
		})
	}
	for name, test := range map[string]func(*testing.T, *installation){
		"several live secrets":              testSeveralLiveSecrets,
		"one signature during rotation":     testOneSignatureDuringRotation,
		"aXcelerate without a private key":  testWithoutPrivateKey,
		"default policies of every dialect": testDefaultPolicies,
		"an answer 410":                     testGoneInEveryDialect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, i)
		})
	}
}

// receiverCase is a receiver, and what it must read in the deliveries that it accepts.
type receiverCase struct {
	name, dialect string
	start         func(t *testing.T, secret string) *endpoint
	// secrets returns what a webhook is given, and what its receiver.
	secrets func(t *testing.T, o *tenant) (sender, receiver string)
	options string // dialectOptions
	want    []reading
}

// reading is what a receiver reads in a delivery of a trigger's sample.
type reading struct {
	trigger, event string
	seen           seen // what is the same each time
}

func receiverCases() []receiverCase {
	meetings := func(seen seen, booked, rescheduled, canceled string) []reading {
		return []reading{
			{"meeting.booked", booked, seen}, {"meeting.rescheduled", rescheduled, seen}, {"meeting.canceled", canceled, seen},
		}
	}
	standard := meetings(seen{Time: publishedTime}, "meeting.booked", "meeting.rescheduled", "meeting.canceled")
	events := func(time string) []reading {
		return meetings(seen{Time: time, Source: receiversSource, Version: "1.0"}, "meeting.booked", "meeting.rescheduled", "meeting.canceled")
	}
	ace := meetings(seen{Time: publishedTime}, "create", "reschedule", "cancel")
	training := seen{Time: publishedMilliseconds, ClientID: 12345678}
	return []receiverCase{
		// By the library for Go of the Standard Webhooks project.
		{name: "standard: the library for Go", dialect: "standard", start: goStandard, secrets: symmetric, want: standard},
		// By the library for Node of the same project.
		{name: "standard: the library for Node", dialect: "standard", start: node("standard.js"), secrets: symmetric, want: standard},
		// By Node's own crypto, after the specification: its libraries know no v1a.
		{name: "standard: ed25519 of Node", dialect: "standard", start: node("asymmetric.js"), secrets: keyPair, want: standard},
		// By the library for Go as above; read with the SDK for Go of the CloudEvents project.
		{name: "cloudevents: the SDK for Go", dialect: "cloudevents", start: goCloudEvents, secrets: symmetric, want: events(publishedTime)},
		// By the library for Node as above; read with the SDK for JavaScript of the CloudEvents project.
		{name: "cloudevents: the SDK for Node", dialect: "cloudevents", start: node("cloudevents.js"), secrets: symmetric, want: events(publishedMilliseconds)},
		// By Node's own crypto, after the specification.
		{name: "cloudevents: ed25519 of Node", dialect: "cloudevents", start: node("asymmetric.js"), secrets: keyPair, want: standard},
		// By the three snippets of ACE Meetings' page.
		{name: "ace: Express", dialect: "ace", start: node("ace.js"), secrets: text, want: ace},
		{name: "ace: PHP", dialect: "ace", start: php("ace.php"), secrets: text, want: ace},
		{name: "ace: Java", dialect: "ace", start: java("AceReceiver.java"), secrets: plainText, want: ace},
		{
			// By Node's own crypto: the steps that Avoma's page lists, since it has no snippet.
			name: "avoma: Node", dialect: "avoma", start: node("avoma.js"), secrets: ofOrganization,
			want: append([]reading{
				{"meeting.notes_ready", "AI notes ready", seen{Time: publishedTime, Notes: "Sam and Ines described how they book meetings today."}},
			}, meetings(seen{Time: publishedTime}, "Meeting booked via scheduler", "Meeting rescheduled via scheduler",
				"Meeting canceled via scheduler")...),
		},
		{
			// By Node's own crypto: the page of Orufy Bookings has a secret token, but does not say how it is used.
			name: "orufy: Node", dialect: "orufy", start: node("orufy.js"), secrets: text,
			want: []reading{
				{"meeting.booked", "BOOK", seen{Time: "2026-03-18T14:00:00.000Z", Detail: "ACTIVE"}},
				{"meeting.rescheduled", "RESCHEDULE", seen{Time: "2026-03-20T09:00:00.000Z", Detail: "mtg_7f3k2p9d mtg_8r5n1x4b"}},
				{"meeting.canceled", "CANCEL", seen{Time: "2026-03-18T14:00:00.000Z", Detail: "We have found what we were looking for."}},
			},
		},
		{
			// By the snippet of Harmonizely's page.
			name: "harmonizely: PHP", dialect: "harmonizely", start: php("harmonizely.php"), secrets: text,
			want: []reading{
				{"meeting.booked", "meetingScheduled", seen{
					Time: "2026-03-18T14:00:00+00:00", Detail: "Sam Ortega Lind Wednesday, March 18, 2026 at 3:00 PM",
				}},
				{"meeting.rescheduled", "meetingRescheduled", seen{
					Time: "2026-03-20T09:00:00+00:00", Detail: "Sam Ortega Lind Friday, March 20, 2026 at 10:00 AM",
				}},
				{"meeting.canceled", "meetingCancelled", seen{
					Time: "2026-03-18T14:00:00+00:00", Detail: "Sam Ortega Lind Wednesday, March 18, 2026 at 3:00 PM",
				}},
			},
		},
		{
			// By Node's own crypto: what aXcelerate's page says of its two headers, since it has no snippet.
			name: "axcelerate: Node", dialect: "axcelerate", start: node("axcelerate.js"), secrets: text,
			options: `{"clientId":"12345678"}`,
			want: append([]reading{
				{"enrolment.created", "enrolment.created", training}, {"contact.updated", "contact.updated", training},
				{"assessment.completed", "assessment.completed", training},
			}, meetings(training, "meeting.booked", "meeting.rescheduled", "meeting.canceled")...),
		},
	}
}

const (
	publishedTime         = "2026-01-31T12:00:00Z" // what tenant.document says
	publishedMilliseconds = "2026-01-31T12:00:00.000Z"
	receiversSource       = "/receivers"
)

func symmetric(t *testing.T, _ *tenant) (sender, receiver string) {
	t.Helper()
	secret, err := webhook.NewSecret()
	require.NoError(t, err)
	return secret, secret
}

func keyPair(t *testing.T, _ *tenant) (sender, receiver string) {
	t.Helper()
	private, public, err := webhook.NewKeyPair()
	require.NoError(t, err)
	return private, public
}

// text has a character of two bytes: the key is the text in UTF-8.
func text(*testing.T, *tenant) (sender, receiver string) {
	secret := "ein Schlüssel " + uuid.NewString()
	return secret, secret
}

// plainText is for programs that read their environment in the encoding of the machine.
func plainText(*testing.T, *tenant) (sender, receiver string) {
	secret := "a key " + uuid.NewString()
	return secret, secret
}

// ofOrganization generates the organization's secret; its webhooks are given none.
func ofOrganization(t *testing.T, o *tenant) (sender, receiver string) {
	t.Helper()
	var generated struct{ Secret string }
	o.do(t, "POST", o.path("/signingSecret:generate"), "{}", &generated)
	require.NotEmpty(t, generated.Secret)
	return "", generated.Secret
}

func (c receiverCase) run(t *testing.T, i *installation) {
	o := i.tenant(t)
	sender, secret := c.secrets(t, o)
	e := c.start(t, secret)
	proxy := newForger(t, e.url, c.dialect)
	address := e.url
	if strings.HasPrefix(proxy.url, "https:") {
		address = proxy.with("")
	}
	triggers := make([]string, len(c.want))
	for n, want := range c.want {
		triggers[n] = want.trigger
	}
	direct := o.dialectWebhook(t, c.dialect, address, sender, c.options, triggers...)
	proxied := o.dialectWebhook(t, c.dialect, proxy.with(""), sender, c.options, triggers[0])
	forged := map[string]*hook{}
	for what := range forgeries(c.dialect) {
		forged[what] = o.dialectWebhook(t, c.dialect, proxy.with(what), sender, c.options, triggers[0])
	}
	wrong, _ := text(t, o)
	if sender != "" {
		wrong, _ = c.secrets(t, o)
	}
	unknown := o.dialectWebhook(t, c.dialect, address, wrong, c.options, triggers[0])
	o.settle(t)

	for n, want := range c.want {
		id := uuid.NewString()
		o.publish(t, want.trigger, receiversSource, id)
		c.accepted(t, o, e, direct, id, want)
		if n > 0 {
			continue
		}
		o.rejected(t, e, unknown, id)
		for what, h := range forged {
			message := o.deliveryOf(h, id)
			if what == "id" {
				message += forgedID
			}
			t.Log("forged:", what)
			o.rejectedAs(t, e, h, id, message)
		}
		// The same way without a change: it was the change that was rejected.
		c.accepted(t, o, e, proxied, id, want)
	}
}

// accepted waits until a delivery has succeeded, and compares what its receiver has read with what it should have.
func (c receiverCase) accepted(t *testing.T, o *tenant, e *endpoint, h *hook, event string, want reading) {
	t.Helper()
	o.outcome(t, h, event, "STATE_SUCCEEDED", 204)
	got := e.saw(t, o.deliveryOf(h, event))
	require.True(t, got.Accepted)
	require.Equal(t, want.event, got.Event)
	require.Equal(t, o.sampleID(t, want.trigger), got.Meeting)
	contentType := "application/json"
	switch c.dialect {
	case "cloudevents":
		contentType = "application/cloudevents+json"
	case "ace", "avoma", "harmonizely", "axcelerate":
		require.Equal(t, got.ID, got.EventID)
	}
	require.Equal(t, contentType, got.Type)
	if c.dialect == "harmonizely" {
		require.Equal(t, "Harmonizely", got.Agent)
	} else {
		require.Regexp(t, `^Meetwire/\S+$`, got.Agent)
	}
	require.Contains(t, got.Notes, want.seen.Notes)
	if want.seen.Source != "" {
		require.Equal(t, event, got.EventID)
	}
	require.Equal(t, want.seen.Source, got.Source)
	require.Equal(t, want.seen.Version, got.Version)
	require.Equal(t, want.seen.ClientID, got.ClientID)
	if want.seen.Time != "" {
		require.Equal(t, want.seen.Time, got.Time)
	}
	if want.seen.Detail != "" {
		require.Equal(t, want.seen.Detail, got.Detail)
	}
}

// rejected waits until a delivery has failed, because its receiver did not find the signature to be right.
func (o *tenant) rejected(t *testing.T, e *endpoint, h *hook, event string) {
	t.Helper()
	o.rejectedAs(t, e, h, event, o.deliveryOf(h, event))
}

// rejectedAs is rejected for a message whose id its receiver read otherwise.
func (o *tenant) rejectedAs(t *testing.T, e *endpoint, h *hook, event, message string) {
	t.Helper()
	o.outcome(t, h, event, "STATE_DEAD_LETTERED", 401)
	got := e.saw(t, message)
	require.False(t, got.Accepted)
	require.NotEmpty(t, got.Reason)
}

// dialectWebhook makes a webhook that repeats nothing. Without a secret it does not sign, or in the dialect avoma with
// the organization's.
func (o *tenant) dialectWebhook(t *testing.T, dialect, url, secret, options string, triggers ...string) *hook {
	t.Helper()
	fields := map[string]any{
		"displayName": dialect, "targetUrl": url, "dialect": dialect, "triggers": triggers,
		"retryPolicy": map[string]any{"preset": "PRESET_NONE"},
	}
	switch {
	case secret != "":
		fields["secret"], fields["secretSource"] = secret, "SECRET_SOURCE_OWN"
	case dialect != "avoma":
		fields["secretSource"] = "SECRET_SOURCE_NONE"
	}
	if options != "" {
		fields["dialectOptions"] = json.RawMessage(options)
	}
	body, err := json.Marshal(fields)
	require.NoError(t, err)
	created := &hook{}
	o.do(t, "POST", o.path("/webhooks"), string(body), created)
	require.Equal(t, dialect, created.Dialect)
	require.Equal(t, secret, created.Secret)
	return created
}

// settle waits until what the tenant configured before is in force everywhere. It asks with events of a trigger that
// the callers do not use.
func (o *tenant) settle(t *testing.T) {
	t.Helper()
	probe := newReceiver(t)
	h := o.webhook(t, probe, "", "meeting.no_show")
	deadline := time.Now().Add(patience)
	for probe.count() == 0 {
		require.True(t, time.Now().Before(deadline), "not in force")
		o.publish(t, "meeting.no_show", "/probe", uuid.NewString())
		probe.wait(time.Now().Add(50 * time.Millisecond))
	}
	o.do(t, "DELETE", "/v1/"+h.Name, "", nil)
}

// deliveryOf returns the id of the delivery of an event to a webhook.
func (o *tenant) deliveryOf(h *hook, event string) string {
	return bus.DeliveryID(o.name, receiversSource, event, h.id())
}

// outcome waits for the end of a delivery, each attempt of which must have had a status.
func (o *tenant) outcome(t *testing.T, h *hook, event, state string, status int) {
	t.Helper()
	path := "/v1/organizations/" + o.name + "/deliveries/" + o.deliveryOf(h, event)
	var d delivery
	var last string
	require.Eventually(t, func() bool {
		var code int
		code, last = o.call(t, o.key, "GET", path, "")
		return code == 200 && json.Unmarshal([]byte(last), &d) == nil &&
			(d.State == "STATE_SUCCEEDED" || d.State == "STATE_DEAD_LETTERED")
	}, patience, tick, "%s: no end of %s", h.Dialect, path)
	attempts := o.attempts(t, d)
	require.Equal(t, state, d.State, "%s: %+v", h.Dialect, attempts)
	require.NotEmpty(t, attempts)
	for _, attempt := range attempts {
		require.Equal(t, status, attempt.StatusCode, "%s: %+v", h.Dialect, attempt)
	}
}

// sampleID returns the id of what a trigger's sample is about.
func (o *tenant) sampleID(t *testing.T, trigger string) string {
	t.Helper()
	var about struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(o.sample(t, trigger)), &about))
	require.NotEmpty(t, about.ID, "the sample of %s has no id", trigger)
	return about.ID
}
