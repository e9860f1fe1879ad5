package subscription_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestTriggersAreListedByGroupAndID(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	publisher := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_PUBLISHER))

	all, err := publisher.triggers.ListTriggers(t.Context(), &subscriptionv1.ListTriggersRequest{Parent: "organizations/acme", PageSize: 1000})
	require.NoError(t, err)
	require.NotEmpty(t, all.GetTriggers())
	require.Empty(t, all.GetNextPageToken())
	require.True(t, slices.IsSortedFunc(all.GetTriggers(), func(a, b *subscriptionv1.Trigger) int {
		if byGroup := strings.Compare(a.GetGroup(), b.GetGroup()); byGroup != 0 {
			return byGroup
		}
		return strings.Compare(a.GetName(), b.GetName())
	}))
	names := make(map[string]bool)
	for _, trigger := range all.GetTriggers() {
		names[trigger.GetName()] = true
		require.NotEmpty(t, trigger.GetDisplayName())
		require.NotEmpty(t, trigger.GetDescription())
		require.True(t, json.Valid([]byte(trigger.GetSchema())), trigger.GetName())
		require.True(t, json.Valid([]byte(trigger.GetSample())), trigger.GetName())
	}
	for _, id := range []string{"meeting.booked", "meeting.rescheduled", "meeting.canceled", "meeting.notes_ready"} {
		require.Contains(t, names, "organizations/acme/triggers/"+id)
	}

	var paged []*subscriptionv1.Trigger
	req := &subscriptionv1.ListTriggersRequest{Parent: "organizations/acme", PageSize: 1}
	for {
		answer, err := publisher.triggers.ListTriggers(t.Context(), req)
		require.NoError(t, err)
		paged = append(paged, answer.GetTriggers()...)
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	require.Len(t, paged, len(all.GetTriggers()))
	for n := range paged {
		require.True(t, proto.Equal(all.GetTriggers()[n], paged[n]))
	}
}

func TestTriggerIsRead(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	get := func(c *caller, name string) (*subscriptionv1.Trigger, error) {
		return c.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: name})
	}
	trigger, err := get(operator, "organizations/acme/triggers/meeting.booked")
	require.NoError(t, err)
	require.Equal(t, "organizations/acme/triggers/meeting.booked", trigger.GetName())

	_, err = get(operator, "organizations/acme/triggers/meeting.exploded")
	s := requireCode(t, err, codes.NotFound)
	require.Contains(t, s.Message(), "organizations/acme/triggers/meeting.exploded")
	_, err = get(operator, "organizations/nobody/triggers/meeting.booked")
	requireCode(t, err, codes.NotFound)
	_, err = operator.triggers.ListTriggers(t.Context(), &subscriptionv1.ListTriggersRequest{Parent: "organizations/nobody"})
	requireCode(t, err, codes.NotFound)
	for _, name := range []string{"organizations/acme/triggers/meeting", "organizations/acme/triggers/Meeting.Booked", "triggers/meeting.booked"} {
		_, err = get(operator, name)
		requireField(t, err, "name", "")
	}
	operator.organization(t, "other", false)
	_, err = get(i.as(t, operator.key(t, "other", accessv1.Role_ROLE_VIEWER)), "organizations/acme/triggers/meeting.booked")
	requireCode(t, err, codes.PermissionDenied)
}
