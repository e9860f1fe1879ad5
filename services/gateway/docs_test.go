package gateway_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/dialect"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// catalogue is a TriggerService that has a few triggers in every dialect.
type catalogue struct {
	subscriptionv1.UnimplementedTriggerServiceServer
	t       *testing.T
	entries []*subscriptionv1.ListCatalogueResponse_Entry
	calls   atomic.Int32
}

const callSchema = `{
	"type": "object", "description": "A call.", "required": ["id", "host"],
	"properties": {
		"id": {"description": "Its id.", "type": "string"},
		"kind": {"description": "What it was.", "enum": ["audio", "video"]},
		"started": {"description": "When it began.", "type": "string", "format": "date-time"},
		"host": {"description": "Who held it.", "$ref": "#/$defs/person"},
		"guests": {"description": "Who else was there.", "type": "array", "items": {"$ref": "#/$defs/person"}},
		"recording": {"description": "What was kept.", "anyOf": [{"$ref": "#/$defs/file"}, {"type": "null"}]}
	},
	"$defs": {
		"person": {"type": "object", "description": "A person.", "required": ["name"], "properties": {
			"name": {"type": "string", "description": "What they are called."},
			"manager": {"$ref": "#/$defs/person", "description": "Whom they report to."}}},
		"file": {"type": "object", "properties": {"size": {"type": "integer", "description": "In bytes."}}}
	}
}`

const callSample = `{"id":"c1","host":{"name":"Ada"}}`

// ListCatalogue implements TriggerService.
func (c *catalogue) ListCatalogue(_ context.Context, request *subscriptionv1.ListCatalogueRequest) (*subscriptionv1.ListCatalogueResponse, error) {
	c.calls.Add(1)
	answer := &subscriptionv1.ListCatalogueResponse{Dialect: request.GetDialect(), Dialects: dialect.Names(), Entries: c.entries}
	if c.entries != nil {
		return answer, nil
	}
	for _, name := range []string{"call.ended", "meeting.booked"} {
		schema, err := dialect.Schema(request.GetDialect(), name, []byte(callSchema))
		if err != nil {
			return nil, err
		}
		answer.Entries = append(answer.Entries, &subscriptionv1.ListCatalogueResponse_Entry{
			Trigger: name, DisplayName: "Name of " + name, Description: "Sent for " + name + ".", Group: "Group of " + name,
			Deprecated: name == "call.ended", DialectTrigger: dialect.TriggerName(request.GetDialect(), name),
			ContentType: "application/json", Sample: callSample, Schema: string(schema),
		})
	}
	return answer, nil
}

// serve starts a gRPC server for the catalogue and returns its address and how to stop it.
func (c *catalogue) serve(t *testing.T) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	subscriptionv1.RegisterTriggerServiceServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	stop = func() {
		server.Stop()
		serving.Wait()
	}
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// document is a page taken apart.
type document struct {
	status int
	header http.Header
	text   string
	root   *html.Node
}

func (e *env) document(t *testing.T, path string) document {
	t.Helper()
	response, err := e.client.Get(e.url + path)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	root, err := html.Parse(strings.NewReader(string(body)))
	require.NoError(t, err)
	return document{response.StatusCode, response.Header, string(body), root}
}

// all returns the elements with a name and, if it is not empty, a class.
func (d document) all(name, class string) []*html.Node { return all(d.root, name, class) }

func all(root *html.Node, name, class string) []*html.Node {
	var found []*html.Node
	for node := range root.Descendants() {
		if node.Type == html.ElementNode && node.Data == name && (class == "" || attribute(node, "class") == class) {
			found = append(found, node)
		}
	}
	return found
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(node *html.Node) string {
	var b strings.Builder
	for inner := range node.Descendants() {
		if inner.Type == html.TextNode {
			b.WriteString(inner.Data)
		}
	}
	return b.String()
}

// rows returns the lines of the table of fields of a section, by field.
func rows(section *html.Node) map[string][]string {
	lines := map[string][]string{}
	for _, table := range all(section, "table", "fields") {
		for _, row := range all(table, "tr", "") {
			var cells []string
			for _, cell := range all(row, "td", "") {
				cells = append(cells, strings.TrimSpace(textOf(cell)))
			}
			if len(cells) > 0 {
				lines[cells[0]] = cells[1:]
			}
		}
	}
	return lines
}

func TestCataloguePageDocumentsEveryTrigger(t *testing.T) {
	t.Parallel()
	c := &catalogue{t: t}
	address, _ := c.serve(t)
	e := start(t, patience, address, address, address)
	for _, name := range dialect.Names() {
		d := e.document(t, "/docs/webhooks?dialect="+name)
		require.Equal(t, http.StatusOK, d.status, d.text)
		require.Equal(t, "text/html; charset=utf-8", d.header.Get("Content-Type"))
		require.Equal(t, "public, max-age=60", d.header.Get("Cache-Control"))
		sections := d.all("section", "trigger")
		require.Len(t, sections, 2)
		require.Equal(t, "call.ended", attribute(sections[0], "id"))
		require.Equal(t, "meeting.booked", attribute(sections[1], "id"))
		require.Contains(t, textOf(sections[0]), "Name of call.ended")
		require.Contains(t, textOf(sections[0]), "Sent for call.ended.")
		require.Contains(t, textOf(sections[0]), "deprecated")
		require.NotContains(t, textOf(sections[1]), "deprecated")
		require.JSONEq(t, callSample, textOf(all(sections[0], "pre", "sample")[0]))
		for _, section := range sections {
			for field, cells := range rows(section) {
				require.NotEmpty(t, cells[0], "the type of %s in %s", field, name)
				require.NotEmpty(t, cells[2], "the description of %s in %s", field, name)
			}
		}
		text := textOf(d.root)
		found, _ := dialect.Lookup(name)
		for _, header := range append(found.Traits().SignatureHeaders, "webhook-id", "webhook-timestamp", "Content-Type") {
			require.Contains(t, text, header)
		}
		if called := dialect.TriggerName(name, "meeting.booked"); called != "meeting.booked" {
			require.Contains(t, textOf(sections[1]), "it is called "+called)
		}
	}
	// The default is standard, and links lead to all others.
	d := e.document(t, "/docs/webhooks")
	var hrefs []string
	for _, link := range all(d.all("nav", "")[0], "a", "") {
		hrefs = append(hrefs, strings.TrimPrefix(attribute(link, "href"), "?dialect="))
		require.Equal(t, attribute(link, "href") == "?dialect=standard", attribute(link, "aria-current") == "page")
	}
	require.Equal(t, dialect.Names(), hrefs)
}

func TestCataloguePageShowsAllFields(t *testing.T) {
	t.Parallel()
	c := &catalogue{t: t}
	address, _ := c.serve(t)
	e := start(t, patience, address, address, address)
	fields := rows(e.document(t, "/docs/webhooks?dialect=standard").all("section", "trigger")[0])
	require.Equal(t, []string{"string", "yes", `What has happened: the dialect's name for the trigger call.ended. One of: "call.ended"`}, fields["type"])
	require.Equal(t, "string (date-time)", fields["timestamp"][0])
	delete(fields, "type")
	delete(fields, "timestamp")
	require.Equal(t, map[string][]string{
		"data":                  {"object", "yes", "A call."},
		"data.id":               {"string", "yes", "Its id."},
		"data.kind":             {"string", "no", `What it was. One of: "audio", "video"`},
		"data.started":          {"string (date-time)", "no", "When it began."},
		"data.host":             {"object", "yes", "Who held it."},
		"data.host.name":        {"string", "yes", "What they are called."},
		"data.host.manager":     {"object", "no", "Whom they report to."},
		"data.guests":           {"array of object", "no", "Who else was there."},
		"data.guests[].name":    {"string", "yes", "What they are called."},
		"data.guests[].manager": {"object", "no", "Whom they report to."},
		"data.recording":        {"object or null", "no", "What was kept."},
		"data.recording.size":   {"integer", "no", "In bytes."},
	}, fields)
}

// The example of each dialect is verified with nothing but the standard library, as the page says.
func TestCataloguePageExampleVerifies(t *testing.T) {
	t.Parallel()
	c := &catalogue{t: t}
	address, _ := c.serve(t)
	e := start(t, patience, address, address, address)
	for _, name := range dialect.Names() {
		d := e.document(t, "/docs/webhooks?dialect="+name)
		body := textOf(d.all("pre", "body")[0])
		headers := map[string]string{}
		for line := range strings.Lines(textOf(d.all("pre", "headers")[0])) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			headers[strings.ToLower(key)] = value
		}
		var secret string
		for _, details := range d.all("details", "") {
			if attribute(details, "id") == "example" {
				secret = textOf(all(details, "code", "")[0])
			}
		}
		key, signed, prefix := []byte(secret), body, ""
		if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
			var err error
			key, err = base64.StdEncoding.DecodeString(encoded)
			require.NoError(t, err)
			signed, prefix = headers["webhook-id"]+"."+headers["webhook-timestamp"]+"."+body, "v1,"
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		sum := mac.Sum(nil)
		found, _ := dialect.Lookup(name)
		names := found.Traits().SignatureHeaders
		got := headers[strings.ToLower(names[len(names)-1])]
		require.Contains(t, []string{prefix + base64.StdEncoding.EncodeToString(sum), hex.EncodeToString(sum)}, got, name)
	}
}

func TestCataloguePageRunsNothing(t *testing.T) {
	t.Parallel()
	const attack = `</pre></style></script><script>alert(1)</script><img src=x onerror=alert(1)>"'><a href="javascript:alert(1)">{{.}}` + "`"
	schema := `{"type":"object","properties":{"a</code><script>alert(2)</script>":{"type":"<script>","description":"</td><script>alert(3)</script>","const":"<script>alert(4)</script>"}}}`
	hostile := &catalogue{t: t, entries: []*subscriptionv1.ListCatalogueResponse_Entry{
		{
			Trigger: attack, DisplayName: attack, Description: attack, Group: attack, DialectTrigger: "x" + attack,
			ContentType: attack, Sample: attack, Schema: schema,
		},
		{Trigger: "a.b", DisplayName: "b", Sample: `{"a":"</pre><script>alert(5)</script>"}`, Schema: attack},
	}}
	address, _ := hostile.serve(t)
	e := start(t, patience, address, address, address)
	for _, path := range []string{"/docs/webhooks", "/docs/webhooks?dialect=" + url.QueryEscape(attack)} {
		d := e.document(t, path)
		for node := range d.root.Descendants() {
			if node.Type != html.ElementNode {
				continue
			}
			require.NotContains(t, []string{"script", "img", "iframe", "object", "embed", "link", "base", "form"}, node.Data)
			for _, a := range node.Attr {
				require.False(t, strings.HasPrefix(a.Key, "on"), a.Key)
				if a.Key == "href" {
					require.Regexp(t, `^(\?dialect=[a-z]+|#.*)$`, a.Val)
				}
			}
		}
		policy := d.header.Get("Content-Security-Policy")
		style := d.all("style", "")
		require.Len(t, style, 1)
		sum := sha256.Sum256([]byte(textOf(style[0])))
		require.Equal(t, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
			"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", policy)
		require.Equal(t, "nosniff", d.header.Get("X-Content-Type-Options"))
		require.Equal(t, "DENY", d.header.Get("X-Frame-Options"))
		require.Equal(t, "no-referrer", d.header.Get("Referrer-Policy"))
	}
	d := e.document(t, "/docs/webhooks")
	require.Equal(t, attack, textOf(d.all("p", "description")[0]), "it is shown as it is")
	require.Equal(t, attack, textOf(d.all("pre", "sample")[0]))
	require.NotContains(t, d.text, "<script")
}

func TestCataloguePageWhileTheServiceIsAway(t *testing.T) {
	t.Parallel()
	c := &catalogue{t: t}
	address, stop := c.serve(t)
	e := start(t, patience, address, address, address)
	require.Equal(t, http.StatusOK, e.document(t, "/docs/webhooks").status)
	require.Equal(t, http.StatusOK, e.document(t, "/docs/webhooks?dialect=standard").status)
	require.EqualValues(t, 1, c.calls.Load(), "it is made once a minute")
	stop()
	require.Equal(t, http.StatusOK, e.document(t, "/docs/webhooks").status)
	d := e.document(t, "/docs/webhooks?dialect=ace")
	require.Equal(t, http.StatusServiceUnavailable, d.status)
	require.Equal(t, "no-store", d.header.Get("Cache-Control"))
	require.Equal(t, "5", d.header.Get("Retry-After"))
	require.Contains(t, d.text, "cannot be shown at the moment")
	require.NotContains(t, d.text, address, "nothing of the inside")
}

func TestCataloguePageOfAnUnknownDialect(t *testing.T) {
	t.Parallel()
	c := &catalogue{t: t}
	address, _ := c.serve(t)
	e := start(t, patience, address, address, address)
	d := e.document(t, "/docs/webhooks?dialect=none")
	require.Equal(t, http.StatusNotFound, d.status)
	require.Len(t, all(d.all("nav", "")[0], "a", ""), len(dialect.Names()))
	require.Zero(t, c.calls.Load())
	response, err := e.client.Post(e.url+"/docs/webhooks", "text/plain", nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.NotEqual(t, http.StatusOK, response.StatusCode)
}
