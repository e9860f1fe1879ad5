package catalogue_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/subscription/internal/catalogue"
)

func TestTriggersAreOrderedByGroupAndID(t *testing.T) {
	t.Parallel()
	all, err := catalogue.Triggers()
	require.NoError(t, err)
	var listed []string
	for _, tr := range all {
		listed = append(listed, tr.Group+"/"+tr.ID)
		require.True(t, bus.IsTrigger(tr.ID), tr.ID)
		require.NotEqual(t, bus.LaneCustom, bus.Lane(tr.ID), "the trigger would be an organization's own: %s", tr.ID)
		require.NotEmpty(t, tr.DisplayName, tr.ID)
		require.Equal(t, tr.Operational, tr.Group == "Meetwire", tr.ID)
		require.Regexp(t, `^[A-Z].*\.$`, tr.Description, tr.ID)
	}
	require.Equal(t, []string{
		"Contacts/contact.updated",
		"Meetings/meeting.booked", "Meetings/meeting.canceled", "Meetings/meeting.no_show", "Meetings/meeting.rescheduled",
		"Meetwire/delivery.dead_lettered", "Meetwire/delivery.dead_letters_expiring", "Meetwire/secret.rotated",
		"Meetwire/webhook.deleted", "Meetwire/webhook.disabled", "Meetwire/webhook.enabled",
		"Notes/meeting.notes_ready",
		"Training/assessment.completed", "Training/enrolment.created",
	}, listed)
}

func TestJSONIsCompact(t *testing.T) {
	t.Parallel()
	for id, tr := range setup(t) {
		for _, text := range []json.RawMessage{tr.Schema, tr.Sample} {
			var compact bytes.Buffer
			require.NoError(t, json.Compact(&compact, text), id)
			require.Equal(t, compact.String(), string(text), id)
		}
	}
}

func TestSamplesSatisfyTheirSchemas(t *testing.T) {
	t.Parallel()
	for id, tr := range setup(t) {
		require.Equal(t, "https://json-schema.org/draft/2020-12/schema", tr.root["$schema"], id)
		require.NoError(t, tr.compiled.Validate(parse(t, tr.Sample)), id)
	}
}

// The samples of other triggers do not do, so no schema accepts everything.
func TestSchemasTellTriggersApart(t *testing.T) {
	t.Parallel()
	triggers := setup(t)
	for _, pair := range [][2]string{
		{"meeting.booked", "contact.updated"},
		{"meeting.rescheduled", "meeting.booked"},
		{"meeting.notes_ready", "meeting.booked"},
		{"enrolment.created", "contact.updated"},
		{"assessment.completed", "enrolment.created"},
	} {
		require.Error(t, triggers[pair[0]].compiled.Validate(parse(t, triggers[pair[1]].Sample)), "%s accepts %s", pair[0], pair[1])
	}
}

func TestRequiredFields(t *testing.T) {
	t.Parallel()
	meeting := []string{"end_time", "event_type", "event_type.name", "event_type.slug", "hosts", "hosts[].id", "id", "start_time"}
	contact := []string{"contact", "contact.id", "id"}
	webhook := []string{"webhook", "webhook.name", "webhook.id", "webhook.display_name"}
	want := map[string][]string{
		"meeting.booked":   meeting,
		"meeting.canceled": meeting,
		"meeting.no_show":  meeting,
		"meeting.rescheduled": append([]string{
			"rescheduling", "rescheduling.previous_end_time", "rescheduling.previous_start_time",
		}, meeting...),
		// Its event type may be absent, but when it is there it has a name and a slug.
		"meeting.notes_ready":    {"ai_notes", "end_time", "event_type.name", "event_type.slug", "hosts", "hosts[].id", "id", "start_time"},
		"contact.updated":        {"id"},
		"enrolment.created":      append([]string{"course", "course.name"}, contact...),
		"assessment.completed":   append([]string{"assessment", "assessment.name", "course.name"}, contact...),
		"webhook.disabled":       append([]string{"generation", "reason", "time"}, webhook...),
		"webhook.enabled":        append([]string{"generation", "time"}, webhook...),
		"webhook.deleted":        append([]string{"time"}, webhook...),
		"secret.rotated":         {"grace_period_seconds", "time"},
		"delivery.dead_lettered": append([]string{"reason", "minute", "count"}, webhook...),

		"delivery.dead_letters_expiring": append([]string{"day", "count"}, webhook...),
	}
	triggers := setup(t)
	require.Len(t, want, len(triggers))
	for id, tr := range triggers {
		found := make(map[string]bool)
		for _, p := range tr.places(t) {
			if !p.required {
				continue
			}
			found[p.field] = true
			name := p.field[strings.LastIndexByte(p.field, '.')+1:]
			err := tr.compiled.Validate(tr.change(t, p.path, nil, true))
			require.Error(t, err, "%s without %s", id, p.field)
			for _, reason := range reasons(err) {
				missing, ok := reason.ErrorKind.(*kind.Required)
				require.True(t, ok, "%s without %s: %v", id, p.field, err)
				require.Equal(t, []string{name}, missing.Missing)
				require.Equal(t, steps(p.path[:len(p.path)-1]), strings.Join(reason.InstanceLocation, "/"))
			}
			require.Error(t, tr.compiled.Validate(tr.change(t, p.path, nil, false)), "%s with %s null", id, p.field)
		}
		var fields []string
		for field := range found {
			fields = append(fields, field)
		}
		require.ElementsMatch(t, want[id], fields, id)
	}
}

// steps writes a path as JSON pointers do.
func steps(path []any) string {
	tokens := make([]string, len(path))
	for i, step := range path {
		tokens[i] = fmt.Sprint(step)
	}
	return strings.Join(tokens, "/")
}

func TestOptionalFieldsMayBeAbsentOrNull(t *testing.T) {
	t.Parallel()
	for id, tr := range setup(t) {
		for _, p := range tr.places(t) {
			if p.required {
				continue
			}
			require.NoError(t, tr.compiled.Validate(tr.change(t, p.path, nil, true)), "%s without %s", id, p.field)
			require.NoError(t, tr.compiled.Validate(tr.change(t, p.path, nil, false)), "%s with %s null", id, p.field)
		}
	}
}

func TestValuesOfTheWrongKindAreRefused(t *testing.T) {
	t.Parallel()
	for id, tr := range setup(t) {
		for _, p := range tr.places(t) {
			if !p.present || p.value == nil {
				continue
			}
			var wrong any = map[string]any{"unexpected": true}
			switch p.value.(type) {
			case map[string]any, []any:
				wrong = true
			}
			if strings.HasSuffix(p.field, ".value") {
				wrong = map[string]any{} // an answer may be a scalar or a list
			}
			require.Error(t, tr.compiled.Validate(tr.change(t, p.path, wrong, false)), "%s with %s %v", id, p.field, wrong)
			for _, s := range tr.resolve(t, p.schemas) {
				if s["format"] != nil || s["enum"] != nil || s["pattern"] != nil {
					require.Error(t, tr.compiled.Validate(tr.change(t, p.path, "not such a text", false)), "%s with %s", id, p.field)
				}
				if s["minimum"] != nil {
					require.Error(t, tr.compiled.Validate(tr.change(t, p.path, json.Number("-1"), false)), "%s with %s", id, p.field)
				}
				if s["minLength"] != nil {
					require.Error(t, tr.compiled.Validate(tr.change(t, p.path, "", false)), "%s with %s", id, p.field)
				}
			}
		}
	}
}

func TestUnknownFieldsAreAccepted(t *testing.T) {
	t.Parallel()
	for id, tr := range setup(t) {
		require.NoError(t, tr.compiled.Validate(tr.change(t, []any{"x_platform"}, "own", false)), id)
		for _, p := range tr.places(t) {
			if _, ok := p.value.(map[string]any); !ok || strings.HasSuffix(p.field, "amount_by_duration") {
				continue
			}
			path := append(slices.Clone(p.path), "x_platform")
			require.NoError(t, tr.compiled.Validate(tr.change(t, path, []any{"own"}, false)), "%s in %s", id, p.field)
		}
	}
}

func TestValuesAtTheLimits(t *testing.T) {
	t.Parallel()
	booked := setup(t)["meeting.booked"]
	for _, c := range []struct {
		path  []any
		value any
		ok    bool
	}{
		{[]any{"event_type", "kind"}, "solo", true},
		{[]any{"event_type", "kind"}, "group", true},
		{[]any{"event_type", "kind"}, "round_robin", true},
		{[]any{"event_type", "kind"}, "collective", true},
		{[]any{"event_type", "kind"}, "ROUNDROBIN", false},
		{[]any{"start_time"}, "2026-03-18T15:00:00+01:00", true},
		{[]any{"start_time"}, "2026-03-18T14:00:00.123456789Z", true},
		{[]any{"start_time"}, "2026-03-18 14:00:00", false},
		{[]any{"start_time"}, "2026-03-18T14:00:00", false},
		{[]any{"hosts"}, []any{}, false},
		{[]any{"attendees"}, []any{}, true},
		{[]any{"capacity"}, json.Number("0"), false},
		{[]any{"duration_minutes"}, json.Number("30.5"), false},
		{[]any{"payment", "amount"}, json.Number("0"), true},
		{[]any{"payment", "currency"}, "eur", false},
		{[]any{"payment", "amount_by_duration"}, map[string]any{"half an hour": json.Number("1")}, false},
		{[]any{"payment", "amount_by_duration"}, map[string]any{"30": "1"}, false},
		{[]any{"event_type", "slug"}, "two words", false},
	} {
		err := booked.compiled.Validate(booked.change(t, c.path, c.value, false))
		require.Equal(t, c.ok, err == nil, "%v = %v: %v", c.path, c.value, err)
	}
}

func TestSamplesBelongToNobody(t *testing.T) {
	t.Parallel()
	mail := regexp.MustCompile(`@([^"/?]+)`)
	link := regexp.MustCompile(`https?://([^"/?]+)`)
	phone := regexp.MustCompile(`"\+[^"]*"`)
	for id, tr := range setup(t) {
		hosts := append(mail.FindAllStringSubmatch(string(tr.Sample), -1), link.FindAllStringSubmatch(string(tr.Sample), -1)...)
		require.Equal(t, tr.Operational, len(hosts) == 0, id)
		for _, host := range hosts {
			require.Regexp(t, `^([a-z]+\.)?example\.(com|org)$`, host[1], id)
		}
		for _, number := range phone.FindAllString(string(tr.Sample), -1) {
			require.Regexp(t, `^"\+120255501\d\d"$`, number, "%s: not a number set aside for examples", id)
		}
	}
}

func TestSamplesAgreeWithThemselves(t *testing.T) {
	t.Parallel()
	type cancellation struct {
		CancelTime string `json:"cancel_time"`
	}
	type meeting struct {
		ID                string    `json:"id"`
		PreviousMeetingID string    `json:"previous_meeting_id"`
		StartTime         time.Time `json:"start_time"`
		EndTime           time.Time `json:"end_time"`
		DurationMinutes   int       `json:"duration_minutes"`
		Status            string    `json:"status"`
		Attendees         []struct {
			ID       string `json:"id"`
			IsNoShow bool   `json:"is_no_show"`
		} `json:"attendees"`
		Cancellation *cancellation `json:"cancellation"`
		Rescheduling *struct {
			PreviousStartTime time.Time `json:"previous_start_time"`
			PreviousEndTime   time.Time `json:"previous_end_time"`
			PreviousMeetingID string    `json:"previous_meeting_id"`
			NewMeetingID      string    `json:"new_meeting_id"`
		} `json:"rescheduling"`
		NoShow *struct {
			AttendeeIDs []string `json:"attendee_ids"`
		} `json:"no_show"`
	}
	for id, tr := range setup(t) {
		if !strings.HasPrefix(id, "meeting.") {
			continue
		}
		var m meeting
		require.NoError(t, json.Unmarshal(tr.Sample, &m), id)
		require.Equal(t, time.Duration(m.DurationMinutes)*time.Minute, m.EndTime.Sub(m.StartTime), id)
		require.Equal(t, id == "meeting.canceled", m.Cancellation != nil, id)
		require.Equal(t, id == "meeting.canceled", m.Status == "canceled", id)
		require.Equal(t, id == "meeting.rescheduled", m.Rescheduling != nil, id)
		if r := m.Rescheduling; r != nil {
			require.NotEqual(t, m.StartTime, r.PreviousStartTime)
			require.Equal(t, m.EndTime.Sub(m.StartTime), r.PreviousEndTime.Sub(r.PreviousStartTime))
			require.Equal(t, m.ID, r.NewMeetingID)
			require.Equal(t, m.PreviousMeetingID, r.PreviousMeetingID)
		}
		require.Equal(t, id == "meeting.no_show", m.NoShow != nil, id)
		var absent []string
		for _, a := range m.Attendees {
			if a.IsNoShow {
				absent = append(absent, a.ID)
			}
		}
		if m.NoShow != nil {
			require.NotEmpty(t, absent)
			require.Equal(t, absent, m.NoShow.AttendeeIDs)
		} else {
			require.Empty(t, absent, id)
		}
	}
}
