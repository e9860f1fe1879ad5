package bench

import (
	"context"
	"crypto/md5" //nolint:gosec // G501: as Postgres makes ids of texts
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
)

// What is listed: the organization that has the most rows, and one with few.
const (
	largeOrganization = "org-0"
	smallOrganization = "org-49"
)

// list is one page that is asked for.
type list struct {
	of           string // events, deliveries or attempts
	organization string
	filter       string
	size         int // rows of a page; 0: as many as there are when nothing is said
	after        int // pages that are passed over
}

// webhookOf returns the name of a webhook of the large organization, as pages/delivery.sql makes it. The first gets the
// most.
func webhookOf(n int) string {
	id := uuid.UUID(md5.Sum(fmt.Appendf(nil, "webhook %s %d", largeOrganization, n))) //nolint:gosec // G401: as above
	return "organizations/" + largeOrganization + "/webhooks/" + id.String()
}

// pageTime returns a time that was so long ago, as filters have it.
func pageTime(now time.Time, ago time.Duration) string {
	return now.UTC().Truncate(time.Hour).Add(-ago).Format(`"2006-01-02T15:04:05Z"`)
}

const pageDay = 24 * time.Hour

// eventLists are the filters of ListEvents, alone and together.
func eventLists(now time.Time, rows int) []list {
	hour := fmt.Sprintf("accept_time >= %s AND accept_time < %s", pageTime(now, 20*pageDay), pageTime(now, 20*pageDay-time.Hour))
	all := filters("events", []string{
		"", `trigger = "meeting.booked"`, `trigger = "custom.rare"`, `trigger = "custom.forgotten"`, `trigger = "custom.unheard_of"`,
		`source = "/bookings"`, `source = "/rare"`, `source = "/none"`, `subject = "contact-1"`, `subject = "meeting-1"`,
		fmt.Sprintf(`id = "evt-%d"`, rows/2), `id = "none"`, hour,
		`trigger = "meeting.notes_ready" AND source = "/notes"`, `trigger = "meeting.notes_ready" AND source = "/bookings"`,
		`trigger = "contact.updated" AND subject = "contact-1"`, `trigger = "meeting.canceled" AND subject = "contact-1"`,
		`trigger = "meeting.booked" AND ` + hour, `source = "/bookings" AND ` + hour, `subject = "contact-1" AND ` + hour,
	})
	return append(append(all, deep("events", "")...), list{of: "events", organization: smallOrganization})
}

// deliveryLists are the filters of ListDeliveries.
func deliveryLists(now time.Time, rows int) []list {
	day := fmt.Sprintf("accept_time >= %s AND accept_time < %s", pageTime(now, 20*pageDay), pageTime(now, 19*pageDay))
	hour := fmt.Sprintf("accept_time >= %s AND accept_time < %s", pageTime(now, 20*pageDay), pageTime(now, 20*pageDay-time.Hour))
	busy, quiet := `webhook = "`+webhookOf(0)+`"`, `webhook = "`+webhookOf(199)+`"`
	all := filters("deliveries", []string{
		"", busy, quiet, `trigger = "meeting.booked"`, `trigger = "custom.rare"`, `trigger = "custom.forgotten"`, `trigger = "custom.unheard_of"`,
		`event_source = "/bookings"`, `event_source = "/rare"`, `event_source = "/none"`, fmt.Sprintf(`event_id = "evt-%d"`, rows/2),
		fmt.Sprintf(`event_sequence = "%d"`, rows/2), `state = "STATE_PENDING"`, `state = "STATE_SUCCEEDED"`, `state = "STATE_DEAD_LETTERED"`,
		`state = "STATE_DROPPED"`, `last_status_code = "200"`, `last_status_code = "204"`, `last_status_code = "404"`,
		`last_status_code = "418"`, `last_status_code = "201"`, `last_error_class = "timeout"`, `last_error_class = "tls"`, day, hour,
		fmt.Sprintf(`event_id = "evt-%d" AND event_source = "/bookings"`, rows/2),
		busy + ` AND state = "STATE_DEAD_LETTERED"`, quiet + ` AND state = "STATE_DEAD_LETTERED"`, busy + ` AND state = "STATE_PENDING"`,
		busy + ` AND last_status_code = "404"`, busy + ` AND last_status_code = "418"`, busy + ` AND last_error_class = "connect"`,
		busy + ` AND last_error_class = "tls"`, busy + ` AND trigger = "meeting.booked"`, busy + ` AND trigger = "custom.rare"`,
		busy + ` AND trigger = "meeting.notes_ready"`, // which it never gets
		busy + ` AND event_source = "/rare"`, busy + " AND " + day, busy + " AND " + hour,
		`trigger = "meeting.booked" AND state = "STATE_DEAD_LETTERED"`, `trigger = "custom.forgotten" AND state = "STATE_DEAD_LETTERED"`,
		`trigger = "meeting.canceled" AND last_status_code = "404"`, `trigger = "meeting.booked" AND ` + hour,
		`state = "STATE_DEAD_LETTERED" AND last_status_code = "404"`, busy + ` AND state = "STATE_DEAD_LETTERED" AND last_status_code = "404"`,
		`state = "STATE_DEAD_LETTERED" AND last_error_class = "timeout"`, `state = "STATE_PENDING" AND last_error_class = "timeout"`,
		`state = "STATE_SUCCEEDED" AND last_status_code = "404"`, `state = "STATE_DEAD_LETTERED" AND ` + day,
		`last_error_class = "timeout" AND ` + hour, `state = "STATE_PENDING" AND ` + hour,
		busy + ` AND event_source = "/rare" AND state = "STATE_DEAD_LETTERED"`, `trigger = "custom.rare" AND last_error_class = "timeout"`,
		`event_source = "/rare" AND state = "STATE_DEAD_LETTERED"`, `event_source = "/rare" AND last_status_code = "404"`,
		busy + ` AND last_status_code = "200" AND state = "STATE_DEAD_LETTERED"`,
	})
	all = append(append(all, deep("deliveries", "")...), deep("deliveries", busy)...)
	return append(all, list{of: "deliveries", organization: smallOrganization})
}

// attemptLists are the filters of ListAttempts of all deliveries.
func attemptLists(now time.Time) []list {
	day := fmt.Sprintf("start_time >= %s AND start_time < %s", pageTime(now, 20*pageDay), pageTime(now, 19*pageDay))
	hour := fmt.Sprintf("start_time >= %s AND start_time < %s", pageTime(now, 20*pageDay), pageTime(now, 20*pageDay-time.Hour))
	busy, quiet := `webhook = "`+webhookOf(0)+`"`, `webhook = "`+webhookOf(199)+`"`
	all := filters("attempts", []string{
		"", busy, quiet, `status_code = "200"`, `status_code = "204"`, `status_code = "404"`, `status_code = "418"`, `status_code = "201"`,
		`error_class = "timeout"`, `error_class = "tls"`, `succeeded = "true"`, `succeeded = "false"`, day, hour,
		busy + ` AND succeeded = "false"`, quiet + ` AND succeeded = "false"`, busy + ` AND status_code = "404"`,
		busy + ` AND status_code = "418"`, busy + ` AND status_code = "201"`, busy + ` AND error_class = "timeout"`,
		busy + ` AND error_class = "tls"`, busy + " AND " + day, busy + " AND " + hour, busy + ` AND succeeded = "false" AND ` + hour,
		`succeeded = "false" AND ` + hour, `status_code = "404" AND error_class = "status"`, `status_code = "404" AND error_class = "timeout"`,
		`status_code = "204" AND succeeded = "false"`, `status_code = "404" AND ` + hour, `error_class = "timeout" AND ` + hour,
	})
	all = append(append(all, deep("attempts", "")...), deep("attempts", busy)...)
	return append(all, list{of: "attempts", organization: smallOrganization})
}

func filters(of string, texts []string) []list {
	all := make([]list, len(texts))
	for i, text := range texts {
		all[i] = list{of: of, organization: largeOrganization, filter: text}
	}
	return all
}

// deep are a page of a list that is far from its beginning, and one that is as long as pages may be.
func deep(of, filter string) []list {
	const far, longest = 200, 1000
	return []list{
		{of: of, organization: largeOrganization, filter: filter, after: far},
		{of: of, organization: largeOrganization, filter: filter, size: longest},
	}
}

// path is where a page is asked for.
func (l *list) path(token string) string {
	under := map[string]string{"events": "events", "deliveries": "deliveries", "attempts": "deliveries/-/attempts"}[l.of]
	query := url.Values{"filter": {l.filter}, "pageSize": {strconv.Itoa(l.size)}, "pageToken": {token}}
	return "/v1/organizations/" + l.organization + "/" + under + "?" + query.Encode()
}

// title is the list as the table has it.
func (l *list) title() string {
	title := strings.ReplaceAll(strings.ReplaceAll(l.filter, webhookOf(0), "busy"), webhookOf(199), "quiet")
	if title == "" {
		title = "(no filter)"
	}
	if l.organization == smallOrganization {
		title += " small organization"
	}
	if l.after > 0 {
		title += fmt.Sprintf(", page %d", l.after+1)
	}
	return title
}

// pageTries is how often every page is asked for.
const pageTries = 20

// listed is what one page took.
type listed struct {
	list
	rows          int
	median, worst time.Duration
}

// pages is what the part has found.
type pages struct {
	rows   int
	filled time.Duration
	all    []listed
}

// pages measures every list of events, deliveries and attempts through REST.
func (e *environment) pages(ctx context.Context) (section, error) {
	found, err := e.listPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("pages: %w", err)
	}
	return found, nil
}

func (e *environment) listPages(ctx context.Context) (found *pages, err error) {
	ctx, broker := newFleet(ctx)
	api := &restClient{http: &http.Client{Timeout: e.config.Patience}}
	t, env, address, err := prepare(ctx, e, api, filepath.Join(e.folder, "pages"), broker)
	defer func() { err = errors.Join(because(ctx, err), broker.stop(ctx), t.stop(ctx)) }()
	if err != nil {
		return nil, err
	}
	// Their first start makes the tables.
	_, err = e.withServices(ctx, env, api, func(ctx context.Context) error {
		return errors.Join(api.createOrganization(ctx, largeOrganization), api.createOrganization(ctx, smallOrganization))
	})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := fillPages(ctx, address, e.config.Rows, began, e.progress); err != nil {
		return nil, err
	}
	found = &pages{rows: e.config.Rows, filled: time.Since(began)}
	e.progress("pages: %s rows of each kind made in %s", grouped(int64(found.rows)), found.filled.Round(time.Second))
	_, err = e.withServices(ctx, env, api, func(ctx context.Context) error {
		rows := found.rows
		for _, l := range append(append(eventLists(began, rows), deliveryLists(began, rows)...), attemptLists(began)...) {
			one, err := api.list(ctx, l)
			if err != nil {
				return fmt.Errorf("list %s where %s: %w", l.of, l.filter, err)
			}
			found.all = append(found.all, one)
		}
		return nil
	})
	return found, err
}

// list asks for a page some times.
func (c *restClient) list(ctx context.Context, l list) (listed, error) {
	one := listed{list: l}
	token := ""
	for range l.after {
		_, next, err := c.page(ctx, &l, token)
		if err != nil {
			return one, err
		}
		if next == "" {
			break // the one before is the last
		}
		token = next
	}
	times := make([]time.Duration, 0, pageTries)
	for range pageTries {
		began := time.Now()
		rows, _, err := c.page(ctx, &l, token)
		if err != nil {
			return one, err
		}
		times = append(times, time.Since(began))
		one.rows = rows
	}
	one.median, one.worst = median(times), percentile(times, 100)
	return one, nil
}

// page asks for a page, and returns how many rows it has and the token of the next.
func (c *restClient) page(ctx context.Context, l *list, token string) (rows int, next string, err error) {
	answer, err := c.get(ctx, l.path(token))
	if err != nil {
		return 0, "", err
	}
	var page map[string]json.RawMessage
	if err := json.Unmarshal(answer, &page); err != nil {
		return 0, "", fmt.Errorf("read a page: %w", err)
	}
	var all []json.RawMessage
	for name, into := range map[string]any{l.of: &all, "nextPageToken": &next} {
		if page[name] == nil {
			continue
		}
		if err := json.Unmarshal(page[name], into); err != nil {
			return 0, "", fmt.Errorf("read %s of a page: %w", name, err)
		}
	}
	return len(all), next, nil
}

// write prints the table.
func (p *pages) write(b *strings.Builder) {
	fmt.Fprintf(b, `
Pages: %s events, and %s attempts with their deliveries, of 50 organizations over %d days; pages of 50 unless they have more rows,
through REST, of an organization that has 27 %% of all if it is not the small one, median and worst of %d. Asked for: under 50 ms.

`, grouped(int64(p.rows)), grouped(int64(p.rows)), pageDays, pageTries)
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	slow := 0
	for _, one := range p.all {
		note := ""
		if one.median >= 50*time.Millisecond {
			note = "SLOW"
			slow++
		}
		fmt.Fprintf(w, "%s\t%s\t%d rows\t%s\t%s\t%s\n", one.of, one.title(), one.rows, display(one.median), display(one.worst), note) //nolint:errcheck // a strings.Builder takes everything
	}
	w.Flush() //nolint:errcheck // as above
	medians := make([]time.Duration, len(p.all))
	for i, one := range p.all {
		medians[i] = one.median
	}
	fmt.Fprintf(b, "\n%d lists; the slowest has a median of %s, and %d have 50 ms or more.\n", len(p.all), display(percentile(medians, 100)), slow)
}
