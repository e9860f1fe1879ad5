package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

type triggers struct {
	List   triggersList   `cmd:"" help:"List triggers."`
	Get    triggersGet    `cmd:"" help:"Show a trigger."`
	Create triggersCreate `cmd:"" help:"Register a trigger of the organization; with -O - one of the platform."`
	Update triggersUpdate `cmd:"" help:"Change a trigger."`
	Delete triggersDelete `cmd:"" help:"Delete a trigger that no webhook asks for."`
	Sample triggersSample `cmd:"" help:"Print the sample as a webhook would get it."`
	Schema triggersSchema `cmd:"" help:"Print the JSON Schema of what a webhook gets."`
}

func triggerColumns() []column {
	return []column{
		{"trigger", "name"},
		{"group", "group"},
		{"name", "display_name"},
		{"deprecated", "deprecated"},
		{"description", "description"},
		{"schema mode", "schema_mode"},
		{"built in", "built_in"},
		{"operational", "operational"},
		{"sample", "sample"},
		{"schema", "schema"},
	}
}

func (s *Session) triggerClient() (subscriptionv1.TriggerServiceClient, error) {
	conn, err := s.conn()
	return subscriptionv1.NewTriggerServiceClient(conn), err
}

type triggersList struct {
	page

	Filter string `help:"Which ones, such as group=Meetings."`
}

// Run implements the command.
func (c *triggersList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.triggerClient()
	if err != nil {
		return err
	}
	answer, err := client.ListTriggers(s.ctx, &subscriptionv1.ListTriggersRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, Filter: c.Filter, //nolint:gosec // G115: checked by the API
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetTriggers(), answer, triggerColumns()[:5])
}

type triggersGet struct {
	Trigger string `arg:"" help:"Id, such as meeting.booked."`
}

// Run implements the command.
func (c *triggersGet) Run(s *Session) error {
	name, err := s.name("triggers", c.Trigger)
	if err != nil {
		return err
	}
	client, err := s.triggerClient()
	if err != nil {
		return err
	}
	answer, err := client.GetTrigger(s.ctx, &subscriptionv1.GetTriggerRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, triggerColumns())
}

// triggerFields are the fields that can be set.
type triggerFields struct {
	DisplayName *string `help:"Name for people."`
	Description *string `help:"What has happened when an event of it is sent."`
	Group       *string `help:"Heading under which it is listed."`
	SchemaFile  string  `help:"File with the JSON Schema of its data; - reads from standard input." placeholder:"FILE"`
	SampleFile  string  `help:"File with a sample of its data; - reads from standard input." placeholder:"FILE"`
	Deprecated  *bool   `help:"Whether it should not be asked for any more."`
	SchemaMode  string  `help:"What becomes of data that does not satisfy the schema: enforce or warn." enum:",enforce,warn" default:""`
}

// apply puts what is given into a trigger and returns the paths of it.
func (f triggerFields) apply(s *Session, to *subscriptionv1.Trigger) ([]string, error) {
	var m mask
	set(&m, "display_name", f.DisplayName, &to.DisplayName)
	set(&m, "description", f.Description, &to.Description)
	set(&m, "group", f.Group, &to.Group)
	set(&m, "deprecated", f.Deprecated, &to.Deprecated)
	for _, file := range []struct {
		path, name string
		to         *string
	}{{"schema", f.SchemaFile, &to.Schema}, {"sample", f.SampleFile, &to.Sample}} {
		if file.name == "" {
			continue
		}
		text, err := s.readFile(file.name)
		if err != nil {
			return nil, err
		}
		*file.to = string(text)
		m.add(file.path)
	}
	if f.SchemaMode != "" {
		to.SchemaMode = subscriptionv1.Trigger_SchemaMode(subscriptionv1.Trigger_SchemaMode_value["SCHEMA_MODE_"+strings.ToUpper(f.SchemaMode)])
		m.add("schema_mode")
	}
	return m.paths, nil
}

type triggersCreate struct {
	triggerFields

	Trigger string `arg:"" help:"Id: two to four dot-separated tokens; an organization's begin with custom."`
}

// Run implements the command.
func (c *triggersCreate) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.triggerClient()
	if err != nil {
		return err
	}
	trigger := &subscriptionv1.Trigger{DisplayName: c.Trigger}
	if _, err := c.apply(s, trigger); err != nil {
		return err
	}
	answer, err := client.CreateTrigger(s.ctx, &subscriptionv1.CreateTriggerRequest{
		Parent: parent, TriggerId: c.Trigger, Trigger: trigger, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return s.show(answer, triggerColumns())
}

type triggersUpdate struct {
	triggerFields

	Trigger           string `arg:"" help:"Id."`
	AllowIncompatible bool   `help:"Also when the new schema breaks what receivers rely on."`
}

// Run implements the command.
func (c *triggersUpdate) Run(s *Session) error {
	name, err := s.name("triggers", c.Trigger)
	if err != nil {
		return err
	}
	client, err := s.triggerClient()
	if err != nil {
		return err
	}
	trigger := &subscriptionv1.Trigger{Name: name}
	paths, err := c.apply(s, trigger)
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return errNothingToChange
	}
	answer, err := client.UpdateTrigger(s.ctx, &subscriptionv1.UpdateTriggerRequest{
		Trigger: trigger, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, AllowIncompatible: c.AllowIncompatible,
	})
	if err != nil {
		return err
	}
	return s.show(answer, triggerColumns())
}

type triggersDelete struct {
	confirmation

	Trigger string `arg:"" help:"Id."`
}

// Run implements the command.
func (c *triggersDelete) Run(s *Session) error {
	name, err := s.name("triggers", c.Trigger)
	if err != nil {
		return err
	}
	client, err := s.triggerClient()
	if err != nil {
		return err
	}
	if err := c.confirm(s, "delete "+name, c.Trigger); err != nil {
		return err
	}
	if _, err := client.DeleteTrigger(s.ctx, &subscriptionv1.DeleteTriggerRequest{Name: name}); err != nil {
		return err
	}
	return s.say("deleted %s", name)
}

// inDialect are the arguments of sample and schema.
type inDialect struct {
	Trigger string `arg:"" help:"Id."`
	Dialect string `help:"Dialect, such as ace." default:"standard"`
}

type triggersSample struct{ inDialect }

// Run implements the command.
func (c *triggersSample) Run(s *Session) error {
	name, err := s.name("triggers", c.Trigger)
	if err != nil {
		return err
	}
	client, err := s.triggerClient()
	if err != nil {
		return err
	}
	answer, err := client.GetTriggerSample(s.ctx, &subscriptionv1.GetTriggerSampleRequest{Name: name, Dialect: c.Dialect})
	if err != nil {
		return err
	}
	if s.connection.Output != "table" {
		return s.showRaw(answer)
	}
	return s.document(answer.GetBody())
}

type triggersSchema struct{ inDialect }

// Run implements the command.
func (c *triggersSchema) Run(s *Session) error {
	name, err := s.name("triggers", c.Trigger)
	if err != nil {
		return err
	}
	client, err := s.triggerClient()
	if err != nil {
		return err
	}
	answer, err := client.GetTriggerSchema(s.ctx, &subscriptionv1.GetTriggerSchemaRequest{Name: name, Dialect: c.Dialect})
	if err != nil {
		return err
	}
	if s.connection.Output != "table" {
		return s.showRaw(answer)
	}
	return s.document(answer.GetSchema())
}

// document writes a JSON document so that people can read it.
func (s *Session) document(text string) error {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		return fmt.Errorf("the server's document is no JSON: %w", err)
	}
	if _, err := fmt.Fprintln(s.terminal.Out, printableLines(b.String())); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}
