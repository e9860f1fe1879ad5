package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/genproto/googleapis/api/httpbody"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/pkg/version"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // that errors can be read
)

// conn calls Meetwire through its REST API. It implements grpc.ClientConnInterface, so that the generated clients, and
// with them the contracts, serve here too: the method's google.api.http option says what the request looks like.
type conn struct {
	server string // base URL
	key    secret.String
	http   *http.Client
}

// Limits of a call.
const (
	callTimeout = 30 * time.Second
	maxAnswer   = 64 << 20
)

// errNoMethod is returned for methods that REST does not have.
var errNoMethod = errors.New("the REST API has no such method")

func newConn(server string, key secret.String) (*conn, error) {
	parsed, err := url.Parse(server)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" || parsed.User != nil ||
		parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, errors.New("--server (MEETWIRE_SERVER) must be an http or https URL without credentials, such as http://127.0.0.1:8080")
	}
	return &conn{server: strings.TrimRight(server, "/"), key: key, http: &http.Client{
		Timeout: callTimeout,
		// The key must not be carried elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Invoke implements grpc.ClientConnInterface.
func (c *conn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	in, inOK := args.(proto.Message)
	out, outOK := reply.(proto.Message)
	if !inOK || !outOK {
		return fmt.Errorf("call %s: not a protobuf message", method)
	}
	request, err := c.request(ctx, method, in)
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		var failed *url.Error // it would tell the URL again
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return fmt.Errorf("call %s: %w", c.server, err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.server, err)
	}
	if len(body) > maxAnswer {
		return fmt.Errorf("the answer of %s has more than %d bytes", c.server, maxAnswer)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return failure(response.StatusCode, body)
	}
	// A newer server may have more fields.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s does not answer as Meetwire does: is it the right --server?", c.server)
	}
	return nil
}

// failure reads an error as the gateway writes it.
func failure(code int, body []byte) error {
	st := &rpcstatus.Status{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, st); err != nil || st.GetCode() == 0 {
		return status.Errorf(codes.Unknown, "the server answers %d %s", code, http.StatusText(code))
	}
	return status.FromProto(st).Err()
}

// request writes a call as REST has it.
func (c *conn) request(ctx context.Context, method string, in proto.Message) (*http.Request, error) {
	rule, err := ruleOf(method)
	if err != nil {
		return nil, err
	}
	verb, template := verbAndPath(rule)
	path, bound, err := fillPath(template, in.ProtoReflect())
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	var body io.Reader
	switch field := rule.GetBody(); field {
	case "":
		addQuery(query, "", in.ProtoReflect(), bound)
	case "*":
		encoded, err := protojson.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	default:
		inner := in.ProtoReflect().Get(in.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(field))).Message().Interface()
		encoded, err := bodyOf(inner)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
		bound[field] = true
		addQuery(query, "", in.ProtoReflect(), bound)
	}
	address := c.server + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, verb, address, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if !c.key.IsZero() {
		request.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("User-Agent", "meetwire/"+version.Version)
	return request, nil
}

// bodyOf writes a message as the body of a request. One that stands for a body is it.
func bodyOf(message proto.Message) ([]byte, error) {
	if raw, ok := message.(*httpbody.HttpBody); ok {
		return raw.GetData(), nil
	}
	encoded, err := protojson.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	return encoded, nil
}

// ruleOf returns how REST has a method, such as /meetwire.subscription.v1.WebhookService/GetWebhook.
func ruleOf(method string) (*annotations.HttpRule, error) {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, errNoMethod
	}
	rule, ok := proto.GetExtension(found.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return nil, errNoMethod
	}
	return rule, nil
}

func verbAndPath(rule *annotations.HttpRule) (verb, path string) {
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return http.MethodGet, p.Get
	case *annotations.HttpRule_Post:
		return http.MethodPost, p.Post
	case *annotations.HttpRule_Patch:
		return http.MethodPatch, p.Patch
	case *annotations.HttpRule_Delete:
		return http.MethodDelete, p.Delete
	case *annotations.HttpRule_Put:
		return http.MethodPut, p.Put
	}
	return "", ""
}

// variable is a part of a path that a field fills: {name=organizations/*}.
var variable = regexp.MustCompile(`\{([a-z_.]+)(?:=([^}]*))?\}`)

// fillPath puts fields into a path and returns which they were.
func fillPath(template string, in protoreflect.Message) (string, map[string]bool, error) {
	bound := make(map[string]bool)
	var failed error
	path := variable.ReplaceAllStringFunc(template, func(part string) string {
		match := variable.FindStringSubmatch(part)
		value := fieldText(in, match[1])
		bound[match[1]] = true
		segments := strings.Split(value, "/")
		if pattern := match[2]; pattern != "" && strings.Count(pattern, "/") != len(segments)-1 {
			failed = fmt.Errorf("%q is not of the form %s", value, pattern)
		}
		for i, segment := range segments {
			if segment == "" || segment == "." || segment == ".." || strings.Contains(segment, ":") { // which begins a custom method
				failed = fmt.Errorf("%q is no resource name", value)
			}
			segments[i] = url.PathEscape(segment)
		}
		return strings.Join(segments, "/")
	})
	return path, bound, failed
}

// fieldText returns the text of a field that may be an inner one.
func fieldText(in protoreflect.Message, path string) string {
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		in = in.Get(in.Descriptor().Fields().ByName(protoreflect.Name(name))).Message()
	}
	return in.Get(in.Descriptor().Fields().ByName(protoreflect.Name(names[len(names)-1]))).String()
}

// addQuery adds the fields that are set, and not bound already, as parameters of a query.
func addQuery(query url.Values, prefix string, in protoreflect.Message, bound map[string]bool) {
	in.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		name := prefix + string(field.Name())
		switch {
		case bound[name] || field.IsMap():
		case field.IsList():
			for i := range value.List().Len() {
				query.Add(name, scalar(field, value.List().Get(i)))
			}
		case field.Message() == nil:
			query.Add(name, scalar(field, value))
		case field.Message().FullName() == "google.protobuf.FieldMask":
			// JSON would write its paths in another way, or not at all.
			paths := value.Message().Get(field.Message().Fields().ByName("paths")).List()
			all := make([]string, paths.Len())
			for i := range all {
				all[i] = paths.Get(i).String()
			}
			query.Add(name, strings.Join(all, ","))
		case isWellKnown(field.Message()):
			if encoded, err := protojson.Marshal(value.Message().Interface()); err == nil {
				query.Add(name, strings.Trim(string(encoded), `"`))
			}
		default:
			addQuery(query, name+".", value.Message(), bound)
		}
		return true
	})
}

// isWellKnown reports whether JSON has a message as one text: a duration, a time, a field mask.
func isWellKnown(message protoreflect.MessageDescriptor) bool {
	return message.ParentFile().Package() == "google.protobuf"
}

func scalar(field protoreflect.FieldDescriptor, value protoreflect.Value) string {
	if field.Kind() == protoreflect.EnumKind {
		if known := field.Enum().Values().ByNumber(value.Enum()); known != nil {
			return string(known.Name())
		}
	}
	return value.String()
}
