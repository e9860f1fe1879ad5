package cli

import (
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
)

type rejects struct {
	List     rejectsList     `cmd:"" help:"List what was published and could not be accepted, the oldest first."`
	Get      rejectsGet      `cmd:"" help:"Show a reject with what was published."`
	Resubmit rejectsResubmit `cmd:"" help:"Publish a reject again, as it is or corrected."`
}

func rejectColumns() []column {
	return []column{
		{"reject", "name"},
		{"rejected", "reject_time"},
		{"subject", "subject"},
		{"rule", "rule"},
		{"where", "pointer"},
		{"detail", "detail"},
		{"event sequence", "event_sequence"},
		{"bytes", "size_bytes"},
		{"stored", "accept_time"},
	}
}

func (s *Session) rejectClient() (ingestv1.RejectServiceClient, error) {
	conn, err := s.conn()
	return ingestv1.NewRejectServiceClient(conn), err
}

type rejectsList struct {
	page

	Rule    string    `help:"Only those that break this rule, such as schema."`
	Subject string    `help:"Only those published to this subject, such as events.acme.meeting.booked."`
	Since   *timeFlag `help:"Only rejected from this time on, such as 2027-01-31T12:00:00Z."`
	Until   *timeFlag `help:"Only rejected before this time."`
}

// Run implements the command.
func (c *rejectsList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.rejectClient()
	if err != nil {
		return err
	}
	answer, err := client.ListRejects(s.ctx, &ingestv1.ListRejectsRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
		Filter: newFilter().is("rule", c.Rule).is("subject", c.Subject).between("reject_time", c.Since, c.Until).String(),
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetRejects(), answer, rejectColumns()[:6])
}

// rejectArg is the argument of commands on one reject.
type rejectArg struct {
	Reject string `arg:"" help:"Id: its sequence in REJECTS."`
}

func (a rejectArg) client(s *Session) (name string, client ingestv1.RejectServiceClient, err error) {
	if name, err = s.name("rejects", a.Reject); err != nil {
		return "", nil, err
	}
	client, err = s.rejectClient()
	return name, client, err
}

type rejectsGet struct{ rejectArg }

// Run implements the command.
func (c *rejectsGet) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	answer, err := client.GetReject(s.ctx, &ingestv1.GetRejectRequest{Name: name})
	if err != nil {
		return err
	}
	if err := s.show(answer, rejectColumns()); err != nil || s.connection.Output != "table" {
		return err
	}
	// It may be anything but JSON.
	return s.say("\n%s", printableLines(string(answer.GetBody())))
}

type rejectsResubmit struct {
	rejectArg

	File         string `help:"File with the corrected event; - reads from standard input. Default: what was published." placeholder:"FILE"`
	ValidateOnly bool   `help:"Check, and publish nothing."`
}

// Run implements the command.
func (c *rejectsResubmit) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	request := &ingestv1.ResubmitRejectRequest{Name: name, ValidateOnly: c.ValidateOnly}
	if c.File != "" {
		text, err := s.readFile(c.File)
		if err != nil {
			return err
		}
		request.Event = string(text)
	}
	answer, err := client.ResubmitReject(s.ctx, request)
	if err != nil {
		return err
	}
	if c.ValidateOnly {
		return s.say("it would be accepted")
	}
	return s.show(answer, []column{{"event", "=event"}})
}
