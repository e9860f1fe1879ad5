package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func sample() *subscriptionv1.Webhook {
	return &subscriptionv1.Webhook{
		Name: hook, DisplayName: "Ord\x1b[31m\ners", Triggers: []string{"meeting.booked", "meeting.canceled"},
		Status: subscriptionv1.Webhook_STATUS_PAUSED, Timeout: durationpb.New(90 * time.Second),
		CreateTime: timestamppb.New(time.Date(2027, 1, 31, 12, 0, 0, 5, time.FixedZone("", 3600))),
		Metadata:   map[string]string{"b": "2", "a": "1\t"}, RetryPolicy: &subscriptionv1.RetryPolicy{MaxRetries: 3},
		Generation: 0,
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	message := sample().ProtoReflect()
	for path, want := range map[string]string{
		"name": "3f0c5d52-6a4e-4f0e-9d7c-0f5a8a3d6a11", "=name": hook, "display_name": "Ord\uFFFD[31m ers",
		"triggers": "meeting.booked, meeting.canceled", "status": "paused", "timeout": "1m30s", "create_time": "2027-01-31T11:00:00Z",
		"metadata": "a=1 , b=2", "retry_policy.max_retries": "3", "retry_policy": `{"maxRetries":3}`,
		"generation": "", "secret_source": "", "update_time": "", "description": "", "no_such_field": "",
	} {
		require.Equal(t, want, cell(message, path), path)
	}
	require.Equal(t, "no", cell((&subscriptionv1.Organization{}).ProtoReflect(), "allow_http"))
	require.Equal(t, "yes", cell((&subscriptionv1.Organization{AllowHttp: true}).ProtoReflect(), "allow_http"))
	require.Equal(t, "admin", cell((&subscriptionv1.ApiKey{Role: accessv1.Role_ROLE_ADMIN}).ProtoReflect(), "role"))
}

func TestTables(t *testing.T) {
	t.Parallel()
	columns := []column{{"team", "name"}, {"name", "display_name"}, {"created", "create_time"}}
	long := "this is a name that is much longer than what a cell of a table can show"
	all := []*subscriptionv1.Team{
		{Name: "organizations/acme/teams/sales", DisplayName: long},
		{Name: "organizations/acme/teams/x", DisplayName: "X"},
	}
	list := &subscriptionv1.ListTeamsResponse{Teams: all}
	c := newConsole(t, "", "", "table")
	require.NoError(t, table(c.Session, all, list, columns))
	require.Equal(t, "TEAM   NAME                                                          CREATED\n"+
		"sales  this is a name that is much longer than what a cell of a ta…\n"+
		"x      X\n", c.out.String())

	c = newConsole(t, "", "", "table")
	require.NoError(t, c.show(all[0], columns))
	require.Equal(t, "team  sales\nname  "+long+"\n", c.out.String(), "one thing is shown in full, and without what it has not")

	c = newConsole(t, "", "", "table")
	require.NoError(t, table(c.Session, all[:0], list, columns))
	require.Equal(t, "nothing found\n", c.out.String())

	c = newConsole(t, "", "", "json")
	require.NoError(t, table(c.Session, all[1:], &subscriptionv1.ListTeamsResponse{Teams: all[1:], NextPageToken: "t"}, columns))
	require.NoError(t, c.more("t"))
	require.NoError(t, c.say("for people"))
	require.Equal(t, strings.Join([]string{
		"{", `  "teams": [`, "    {", `      "name": "organizations/acme/teams/x",`, `      "displayName": "X"`, "    }", "  ],",
		`  "nextPageToken": "t"`, "}", "",
	}, "\n"), c.out.String(), "byte for byte")
	require.Equal(t, "for people\n", c.err.String(), "machines do not read it")
}

func TestYAMLHasTheFieldsInTheirOrder(t *testing.T) {
	t.Parallel()
	c := newConsole(t, "", "", "yaml")
	webhook := sample()
	webhook.Description = "yes"
	webhook.Metadata = map[string]string{"number": "7"}
	require.NoError(t, c.show(webhook, nil))
	require.Equal(t, `name: `+hook+`
displayName: "Ord\e[31m\ners"
triggers:
  - meeting.booked
  - meeting.canceled
status: STATUS_PAUSED
retryPolicy:
  maxRetries: 3
timeout: 90s
createTime: "2027-01-31T11:00:00.000000005Z"
description: "yes"
metadata:
  number: "7"
`, c.out.String())
}
