package docs

import (
	"bytes"
	"encoding/json"
	"html/template"

	"github.com/meetwire/meetwire/pkg/dialect"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// view is what the template shows.
type view struct {
	Style    template.CSS
	Dialects []link
	Dialect  string // its title
	Receive  *receive
	Groups   []group

	Problem, Advice string // instead of all that
}

// link is a dialect to choose.
type link struct {
	Name, Title string
	Current     bool
}

// group is a heading with its triggers.
type group struct {
	Name     string
	Triggers []trigger
}

// trigger is one of the platform.
type trigger struct {
	ID, Name, Description string
	DialectName           string // when the dialect calls it something else
	ContentType           string
	Deprecated            bool
	Fields                []field
	Truncated             bool // there are more fields than are shown
	Sample                string
}

// viewOf puts together what the page of a dialect shows. Entries come ordered by group.
func viewOf(name string, catalogue *subscriptionv1.ListCatalogueResponse) *view {
	found, _ := dialect.Lookup(name)
	v := &view{Dialects: links(name), Dialect: found.Traits().Title, Receive: receiveOf(found)}
	for _, entry := range catalogue.GetEntries() {
		if len(v.Groups) == 0 || v.Groups[len(v.Groups)-1].Name != entry.GetGroup() {
			v.Groups = append(v.Groups, group{Name: entry.GetGroup()})
		}
		last := &v.Groups[len(v.Groups)-1]
		last.Triggers = append(last.Triggers, triggerOf(entry))
	}
	return v
}

func triggerOf(entry *subscriptionv1.ListCatalogueResponse_Entry) trigger {
	t := trigger{
		ID: entry.GetTrigger(), Name: entry.GetDisplayName(), Description: entry.GetDescription(),
		ContentType: entry.GetContentType(), Deprecated: entry.GetDeprecated(), Sample: readable(entry.GetSample()),
	}
	if entry.GetDialectTrigger() != t.ID {
		t.DialectName = entry.GetDialectTrigger()
	}
	t.Fields, t.Truncated = fieldsOf(entry.GetSchema())
	return t
}

// links returns the dialects in the order in which people are shown them.
func links(current string) []link {
	var all []link
	for _, name := range dialect.Names() {
		found, _ := dialect.Lookup(name)
		all = append(all, link{Name: name, Title: found.Traits().Title, Current: name == current})
	}
	return all
}

// readable indents JSON; other text stays as it is.
func readable(text string) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
		return text
	}
	return b.String()
}
