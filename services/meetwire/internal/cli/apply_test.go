package cli

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestFilesAreRead(t *testing.T) {
	t.Parallel()
	all, err := readDeclared([]byte(`
# a comment
id: orders
displayName: 123
description: yes
targetUrl: &url https://example.com/a
triggers: [meeting.booked]
headers: [{name: X-Token, value: 007}]
retryPolicy: {maxRetries: 3, factor: 2, jitter: 0.5, firstDelay: 2s}
failureThreshold: {off: true}
rateLimit: 10
metadata: {version: 1.0, at: 2027-01-31}
status: STATUS_PAUSED
---
# nothing
---
id: second
targetUrl: https://example.com/b
dialectOptions: {clientId: 9007199254740991}
filter: null
retryPolicy: {}
`))
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, 3, all[0].line)
	require.True(t, proto.Equal(&subscriptionv1.Webhook{
		DisplayName: "123", Description: "yes", TargetUrl: "https://example.com/a", Triggers: []string{"meeting.booked"},
		Headers:          []*subscriptionv1.Header{{Name: "X-Token", Value: "007"}},
		RetryPolicy:      &subscriptionv1.RetryPolicy{MaxRetries: 3, Factor: 2, Jitter: 0.5, FirstDelay: durationpb.New(2 * time.Second)},
		FailureThreshold: &subscriptionv1.FailureThreshold{Off: true}, RateLimit: 10,
		Metadata: map[string]string{"version": "1.0", "at": "2027-01-31", applyKey: "orders"}, Status: subscriptionv1.Webhook_STATUS_PAUSED,
	}, all[0].webhook), all[0].webhook)
	require.Equal(t, []string{
		"display_name", "description", "target_url", "triggers", "headers", "retry_policy.max_retries", "retry_policy.factor",
		"retry_policy.jitter", "retry_policy.first_delay", "failure_threshold.off", "rate_limit", "metadata", "status",
	}, all[0].paths)
	require.Equal(t, []string{"target_url", "dialect_options.client_id", "filter", "retry_policy"}, all[1].paths)
	require.EqualValues(t, 9007199254740991, all[1].webhook.GetDialectOptions().GetClientId())
	require.Equal(t, map[string]string{applyKey: "second"}, all[1].webhook.GetMetadata())
	all, err = readDeclared(nil)
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestWrongFilesAreRefused(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		"displayName: x":                                          "line 1: id is required",
		"id: [a]":                                                 "line 1: id must be",
		"id: a b":                                                 "line 1: id must be",
		"id: " + strings.Repeat("a", 101):                         "line 1: id must be",
		"id: a\nid: b":                                            "line 2: id is there twice",
		"id: a\n---\nid: a":                                       "line 3: the id a is used in line 1 already",
		"id: a\ndisplay_name: x":                                  "line 2: unknown field display_name",
		"id: a\nretryPolicy:\n  maxRetrys: 3":                     "line 3: unknown field retryPolicy.maxRetrys",
		"id: a\nheaders:\n- name: x\n- nome: x":                   "line 4: unknown field headers[1].nome",
		"id: a\nname: x":                                          "line 2: name cannot be set",
		"id: a\netag: x":                                          "line 2: etag cannot be set",
		"id: a\ntriggers: meeting.booked":                         "line 2: triggers must be a list",
		"id: a\ntriggers: [[a]]":                                  "line 2: triggers[0] must be a single value",
		"id: a\nretryPolicy: 3":                                   "line 2: retryPolicy must have fields",
		"id: a\nretryPolicy: {maxRetries: three}":                 "line 2: retryPolicy.maxRetries must be an integer",
		"id: a\nretryPolicy: {maxRetries: 3, maxRetries: 4}":      "line 2: retryPolicy.maxRetries is there twice",
		"id: a\nrateLimit: fast":                                  "line 2: rateLimit must be a number",
		"id: a\nfailureThreshold: {off: 1}":                       "line 2: failureThreshold.off must be true or false",
		"id: a\nstatus: ACTIVE":                                   "line 2: status must be one of STATUS_ACTIVE, STATUS_PAUSED, STATUS_DISABLED",
		"id: a\nmetadata: [x]":                                    "line 2: metadata must have keys and values",
		"id: a\nmetadata: {x: [1]}":                               "line 2: metadata.x must be a text",
		"id: a\nmetadata: {apply.id: b}":                          "metadata must not have the key apply.id",
		"id: a\ntimeout: sometimes":                               "line 2: timeout has not the form of the API",
		"id: a\nmaxConcurrency: 99999999999":                      "line 2: maxConcurrency has not the form of the API",
		"- id: a":                                                 "line 1: a document must be a webhook",
		"id: a\ndisplayName: x\ndisplayName: y":                   "line 3: displayName is there twice",
		"id: a\n  b: c":                                           "line 2",
		"id: a\ntriggers: [" + strings.Repeat("x,", 100001) + "]": "more than 100000 values",
	} {
		_, err := readDeclared([]byte(file))
		require.ErrorContains(t, err, want, "%.100s", file)
	}
	_, err := readDeclared([]byte("id: a\nsecret: {x: sesame}"))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "sesame")
}

// Values of headers and secrets are in no difference.
func TestDifferencesHideSecrets(t *testing.T) {
	t.Parallel()
	from := &subscriptionv1.Webhook{Headers: []*subscriptionv1.Header{{Name: "A"}}, RetryPolicy: &subscriptionv1.RetryPolicy{MaxRetries: 3}}
	to := &subscriptionv1.Webhook{
		Headers: []*subscriptionv1.Header{{Name: "A", Value: "sesame"}, {Name: "B", Value: "open"}}, Secret: "s3cr3t",
		RetryPolicy: &subscriptionv1.RetryPolicy{MaxRetries: 5}, Description: "new", Triggers: []string{"a.b"},
	}
	paths := []string{"headers", "secret", "retry_policy.max_retries", "retry_policy.factor", "description", "triggers", "filter"}
	all := differences(from, to, paths)
	require.Equal(t, "    headers: A: (not shown) -> A: (not shown), B: (not shown)\n    secret: (not shown)\n"+
		"    retryPolicy.maxRetries: 3 -> 5\n    description: new\n    triggers: a.b\n", lines(all))
	require.Equal(t, "    description: new -> (none)\n", lines(differences(to, from, []string{"description"})))
	require.NotContains(t, fmt.Sprintf("%+v", all), "sesame")
	require.Empty(t, differences(to, to, paths))
}

// Two webhooks with one id would be changed in turns.
func TestAmbiguousIDsAreRefused(t *testing.T) {
	t.Parallel()
	url, calls := server(t, http.StatusOK, `{"webhooks":[{"name":"organizations/acme/webhooks/1","metadata":{"apply.id":"a"}},
		{"name":"organizations/acme/webhooks/2","metadata":{"apply.id":"a"}}]}`)
	s := newConsole(t, url, "id: a\ndisplayName: x\n", "table")
	command := &webhooksApply{File: "-"}
	require.ErrorContains(t, command.Run(s.Session), "organizations/acme/webhooks/1 and organizations/acme/webhooks/2 both have the id a")
	require.Len(t, *calls, 1)
	require.Empty(t, s.out.String())
}

func FuzzFiles(f *testing.F) {
	for _, seed := range []string{"id: a\n", "id: a\nretryPolicy: {maxRetries: 3}\n---\nid: b\n", "a: &a [*a]", "id: x\nheaders: [{name: a, value: b}]", "? {}\n: 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := readDeclared(text)
		if err != nil {
			return
		}
		for _, d := range all {
			require.Regexp(t, applyID, d.id)
			require.Equal(t, d.id, d.webhook.GetMetadata()[applyKey])
		}
	})
}
