package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

type webhooksApply struct {
	confirmation

	File        string `help:"YAML file with a webhook in each document, in the names of the API; - reads from standard input." short:"f" required:"" placeholder:"FILE"`
	DryRun      bool   `help:"Only show what would be done."`
	Prune       bool   `help:"Also delete webhooks that were made from a file and are not in this one."`
	SendHeaders bool   `help:"Send the values of headers also where their names are the same: whether values differ cannot be seen."`
}

// Help explains the file.
func (*webhooksApply) Help() string {
	return "Every document has an id, by which the webhook is found again: it is kept in its metadata. Fields that a document " +
		"does not name are left alone. A secret is used when the webhook is created; change it later with rotate-secret.\n\n" +
		"    id: orders\n    displayName: Orders\n    targetUrl: https://example.com/webhooks\n    triggers: [meeting.*]"
}

// step is what is done about one webhook.
type step struct {
	ID      string   `json:"id"`
	Action  string   `json:"action"`
	Webhook string   `json:"webhook,omitempty"` // resource name
	Changes []change `json:"changes,omitempty"`

	wanted *subscriptionv1.Webhook
	etag   string
}

// Actions of steps.
const (
	actionCreate    = "create"
	actionUpdate    = "update"
	actionDelete    = "delete"
	actionUnchanged = "unchanged"
)

// applier applies a file to an organization.
type applier struct {
	s      *Session
	parent string
	client subscriptionv1.WebhookServiceClient
}

// Run implements the command.
func (c *webhooksApply) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	text, err := s.readFile(c.File)
	if err != nil {
		return err
	}
	all, err := readDeclared(text)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	client, err := s.webhookClient()
	if err != nil {
		return err
	}
	a := applier{s: s, parent: parent, client: client}
	steps, err := a.plan(all, c)
	if err != nil {
		return err
	}
	if err := a.show(steps); err != nil {
		return err
	}
	if c.DryRun {
		return a.done(steps, "nothing was done: this was a dry run")
	}
	if err := c.confirmPrune(s, steps); err != nil {
		return err
	}
	for i := range steps {
		if err := a.act(&steps[i]); err != nil {
			return fmt.Errorf("%s %s (what is before it is done): %w", steps[i].Action, steps[i].ID, err)
		}
	}
	return a.done(steps, summary(steps))
}

// confirmPrune asks before webhooks are deleted.
func (c *webhooksApply) confirmPrune(s *Session, steps []step) error {
	var ids []string
	for _, one := range steps {
		if one.Action == actionDelete {
			ids = append(ids, one.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	what := fmt.Sprintf("delete %d webhook(s), %s, and drop what waits for them", len(ids), strings.Join(ids, ", "))
	return c.confirm(s, what, strings.TrimPrefix(s.connection.Organization, "organizations/"))
}

// plan finds out what is to be done. The API checks every step, and nothing is done when one is wrong.
func (a applier) plan(all []declared, c *webhooksApply) ([]step, error) {
	existing, err := a.existing()
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, d := range all {
		found := existing[d.id]
		var one step
		if found == nil {
			one, err = a.creation(d)
		} else {
			one, err = a.update(d, found, c.SendHeaders)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %s: %w", c.File, d.line, d.id, err)
		}
		steps = append(steps, one)
		delete(existing, d.id)
	}
	if !c.Prune {
		return steps, nil
	}
	for id, webhook := range existing {
		steps = append(steps, step{ID: id, Action: actionDelete, Webhook: webhook.GetName(), etag: webhook.GetEtag()})
	}
	slices.SortFunc(steps[len(all):], func(x, y step) int { return strings.Compare(x.ID, y.ID) })
	return steps, nil
}

// existing returns the webhooks that were made from files, by their ids there.
func (a applier) existing() (map[string]*subscriptionv1.Webhook, error) {
	const pageSize = 1000
	all := make(map[string]*subscriptionv1.Webhook)
	token := ""
	for {
		answer, err := a.client.ListWebhooks(a.s.ctx, &subscriptionv1.ListWebhooksRequest{
			Parent: a.parent, PageSize: pageSize, PageToken: token,
		})
		if err != nil {
			return nil, err
		}
		for _, webhook := range answer.GetWebhooks() {
			id := webhook.GetMetadata()[applyKey]
			if id == "" {
				continue
			}
			if other := all[id]; other != nil {
				return nil, fmt.Errorf("%s and %s both have the id %s in their metadata (%s): change one of them",
					other.GetName(), webhook.GetName(), id, applyKey)
			}
			all[id] = webhook
		}
		if token = answer.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

func (a applier) creation(d declared) (step, error) {
	_, err := a.client.CreateWebhook(a.s.ctx, &subscriptionv1.CreateWebhookRequest{
		Parent: a.parent, Webhook: d.webhook, ValidateOnly: true,
	})
	if err != nil {
		return step{}, err
	}
	one := step{ID: d.id, Action: actionCreate, wanted: d.webhook}
	for _, c := range differences(&subscriptionv1.Webhook{}, d.webhook, d.paths) {
		c.From = ""
		one.Changes = append(one.Changes, c)
	}
	return one, nil
}

// update asks the API what would become of the webhook: it writes URLs and the like in its own way.
func (a applier) update(d declared, current *subscriptionv1.Webhook, sendHeaders bool) (step, error) {
	one := step{ID: d.id, Action: actionUnchanged, Webhook: current.GetName(), etag: current.GetEtag()}
	// A secret is in no answer, and replacing it needs a grace period.
	paths := slices.DeleteFunc(slices.Clone(d.paths), func(path string) bool { return path == "secret" })
	if len(paths) == 0 {
		return one, nil
	}
	one.wanted = proto.CloneOf(d.webhook)
	one.wanted.Name, one.wanted.Secret = current.GetName(), ""
	answer, err := a.client.UpdateWebhook(a.s.ctx, &subscriptionv1.UpdateWebhookRequest{
		Webhook: one.wanted, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, ValidateOnly: true,
	})
	if err != nil {
		return step{}, err
	}
	one.Changes = differences(current, answer, paths)
	if sendHeaders && slices.Contains(paths, "headers") && len(d.webhook.GetHeaders()) > 0 &&
		!slices.ContainsFunc(one.Changes, func(c change) bool { return c.path == "headers" }) {
		shown := at(one.wanted.ProtoReflect(), "headers")
		one.Changes = append(one.Changes, change{Field: "headers", From: shown.show(), To: shown.show(), path: "headers"})
	}
	if len(one.Changes) > 0 {
		one.Action = actionUpdate
	}
	return one, nil
}

// show writes what is going to be done.
func (a applier) show(steps []step) error {
	signs := map[string]string{actionCreate: "+", actionUpdate: "~", actionDelete: "-", actionUnchanged: "="}
	for _, one := range steps {
		name := one.Webhook
		if name != "" {
			name = " (" + name + ")"
		}
		text := strings.TrimSuffix(lines(one.Changes), "\n")
		if text != "" {
			text = "\n" + text
		}
		if err := a.s.say("%s %s %s%s%s", signs[one.Action], one.Action, one.ID, name, text); err != nil {
			return err
		}
	}
	return nil
}

// act does a step.
func (a applier) act(one *step) error {
	switch one.Action {
	case actionCreate:
		answer, err := a.client.CreateWebhook(a.s.ctx, &subscriptionv1.CreateWebhookRequest{
			Parent: a.parent, Webhook: one.wanted, RequestId: uuid.NewString(),
		})
		one.Webhook = answer.GetName()
		return err
	case actionUpdate:
		var m mask
		for _, c := range one.Changes {
			m.add(c.path)
		}
		one.wanted.Etag = one.etag
		_, err := a.client.UpdateWebhook(a.s.ctx, &subscriptionv1.UpdateWebhookRequest{
			Webhook: one.wanted, UpdateMask: &fieldmaskpb.FieldMask{Paths: m.paths},
		})
		return err
	case actionDelete:
		_, err := a.client.DeleteWebhook(a.s.ctx, &subscriptionv1.DeleteWebhookRequest{Name: one.Webhook, Etag: one.etag})
		return err
	}
	return nil
}

func summary(steps []step) string {
	count := make(map[string]int)
	for _, one := range steps {
		count[one.Action]++
	}
	return fmt.Sprintf("%d created, %d updated, %d deleted, %d unchanged",
		count[actionCreate], count[actionUpdate], count[actionDelete], count[actionUnchanged])
}

// errWrite is returned when the outcome cannot be written.
var errWrite = errors.New("write the outcome")

// done writes the outcome.
func (a applier) done(steps []step, text string) error {
	if a.s.connection.Output == "table" {
		return a.s.say("%s", text)
	}
	if steps == nil {
		steps = []step{}
	}
	encoded, err := json.MarshalIndent(map[string]any{"steps": steps}, "", "  ")
	if err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	encoded = append(encoded, '\n')
	if a.s.connection.Output == "yaml" {
		if encoded, err = toYAML(encoded); err != nil {
			return err
		}
	}
	if _, err := a.s.terminal.Out.Write(encoded); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}
