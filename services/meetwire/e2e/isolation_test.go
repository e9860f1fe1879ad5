package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// method is one method of the API, as its descriptor tells.
type method struct {
	protoreflect.MethodDescriptor

	rule *accessv1.Rule
	conn *grpc.ClientConn
}

func (m method) path() string { return fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()) }

// may reports whether the contract lets a role call the method.
func (m method) may(role accessv1.Role) bool {
	for _, allowed := range m.rule.GetRoles() {
		if allowed == role {
			return true
		}
	}
	return false
}

// about returns a request whose field that says which organization it is about has this value.
func (m method) about(resource string) proto.Message {
	request := dynamicpb.NewMessage(m.Input())
	if field := m.rule.GetOrganizationField(); field != "" {
		inner := protoreflect.Message(request)
		names := strings.Split(field, ".")
		for _, name := range names[:len(names)-1] {
			inner = inner.Mutable(inner.Descriptor().Fields().ByName(protoreflect.Name(name))).Message()
		}
		last := inner.Descriptor().Fields().ByName(protoreflect.Name(names[len(names)-1]))
		inner.Set(last, protoreflect.ValueOfString(resource))
	}
	return request
}

// pattern returns how the method's resource is named, such as organizations/*/webhooks/*.
func (m method) pattern(t *testing.T) string {
	t.Helper()
	rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return "organizations/*" // between services, where only the organization is named
	}
	for _, path := range []string{rule.GetGet(), rule.GetPost(), rule.GetPatch(), rule.GetDelete(), rule.GetPut()} {
		if found := regexp.MustCompile(`\{[a-z_.]+=([^}]+)\}`).FindStringSubmatch(path); found != nil {
			return found[1]
		}
	}
	return ""
}

// call calls the method with a credential and returns the answer.
func (m method) call(t *testing.T, credential string, request proto.Message) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if credential != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+credential)
	}
	answer := dynamicpb.NewMessage(m.Output())
	if !m.IsStreamingServer() {
		err := m.conn.Invoke(ctx, m.path(), request, answer)
		return answer.String(), err
	}
	stream, err := m.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, m.path())
	require.NoError(t, err)
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	require.NoError(t, stream.CloseSend())
	if _, err := stream.Header(); err != nil {
		return "", err
	}
	// A refusal comes together with the header. Of a stream that has begun there may never be anything.
	quiet := time.AfterFunc(quietStream, cancel)
	err = stream.RecvMsg(answer)
	if !quiet.Stop() {
		return "", nil
	}
	return answer.String(), err
}

// quietStream is how long a stream that has begun is waited for.
const quietStream = time.Second

// methods returns every method of the contracts, each with a connection to the service that has it.
func (i *installation) methods(t *testing.T) []method {
	t.Helper()
	conns := make(map[string]*grpc.ClientConn)
	for area, service := range map[string]string{
		"config": "subscription", "operation": "subscription", "subscription": "subscription",
		"ingest": "ingest", "delivery": "delivery",
	} {
		conn, err := grpc.NewClient(i.grpc[service], grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		conns[area] = conn
	}
	var all []method
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		area, ok := strings.CutPrefix(string(file.Package()), "meetwire.")
		if !ok {
			return true
		}
		area, _, _ = strings.Cut(area, ".")
		for s := range file.Services().Len() {
			for n := range file.Services().Get(s).Methods().Len() {
				m := method{MethodDescriptor: file.Services().Get(s).Methods().Get(n), conn: conns[area]}
				require.NotNil(t, m.conn, "which service has %s?", m.FullName())
				m.rule, ok = proto.GetExtension(m.Options(), accessv1.E_Rule).(*accessv1.Rule)
				require.True(t, ok && m.rule != nil, "%s has no access rule", m.FullName())
				all = append(all, m)
			}
		}
		return true
	})
	require.Greater(t, len(all), 60)
	return all
}

// credentials are one for each role, and two that are none.
func (o *tenant) credentials(t *testing.T) map[accessv1.Role]string {
	t.Helper()
	viewer, publisher := o.newKey(t, "ROLE_VIEWER"), o.newKey(t, "ROLE_PUBLISHER")
	for _, key := range []string{viewer, publisher} {
		require.Eventually(t, func() bool {
			deliveries, _ := o.call(t, key, "GET", o.path("/deliveries"), "")
			events, _ := o.call(t, key, "POST", o.path("/events"), "{}")
			return deliveries != http.StatusUnauthorized && events != http.StatusUnauthorized
		}, patience, 5*time.Millisecond)
	}
	return map[accessv1.Role]string{
		accessv1.Role_ROLE_OPERATOR:  o.installation.key,
		accessv1.Role_ROLE_SERVICE:   serviceToken,
		accessv1.Role_ROLE_ADMIN:     o.key,
		accessv1.Role_ROLE_VIEWER:    viewer,
		accessv1.Role_ROLE_PUBLISHER: publisher,
	}
}

func isTenants(role accessv1.Role) bool {
	return role == accessv1.Role_ROLE_ADMIN || role == accessv1.Role_ROLE_VIEWER || role == accessv1.Role_ROLE_PUBLISHER
}

// name puts an organization, and ids of something that does not exist, into a pattern.
func name(pattern, organization string, ids map[string]string) string {
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		switch {
		case part != "*":
		case parts[i-1] == "organizations":
			parts[i] = organization
		case ids[parts[i-1]] != "":
			parts[i] = ids[parts[i-1]]
		case parts[i-1] == "triggers":
			parts[i] = "custom.nothing"
		case parts[i-1] == "apiKeys", parts[i-1] == "teams", parts[i-1] == "plans":
			parts[i] = "nothing"
		default:
			parts[i] = uuid.NewString()
		}
	}
	return strings.Join(parts, "/")
}

// testEveryMethod walks every method of the contracts, so a new one is walked too.
func testEveryMethod(t *testing.T, i *installation) {
	mine, other := i.tenant(t), i.tenant(t)
	credentials := mine.credentials(t)
	for _, m := range i.methods(t) {
		about := name(m.pattern(t), other.name, nil)
		for _, credential := range []string{"", "nonsense", strings.Replace(mine.key, "mwk_", "mwk_0", 1)} {
			_, err := m.call(t, credential, m.about(about))
			if m.rule.GetPublic() {
				require.NoError(t, err, m.FullName())
			} else {
				require.Equal(t, codes.Unauthenticated, status.Code(err), "%s with no valid credential: %v", m.FullName(), err)
			}
		}
		for role, credential := range credentials {
			switch {
			case m.rule.GetPublic():
			case !m.may(role):
				_, err := m.call(t, credential, m.about(name(m.pattern(t), mine.name, nil)))
				require.Equal(t, codes.PermissionDenied, status.Code(err), "%s as %s: %v", m.FullName(), role, err)
			case isTenants(role) && m.rule.GetOrganizationField() != "":
				for _, foreign := range []string{about, name(m.pattern(t), "-", nil)} {
					_, err := m.call(t, credential, m.about(foreign))
					require.Equal(t, codes.PermissionDenied, status.Code(err), "%s about %s as %s: %v", m.FullName(), foreign, role, err)
				}
			default:
				_, err := m.call(t, credential, m.about(name(m.pattern(t), "nobody", nil)))
				if isTenants(role) {
					_, err = m.call(t, credential, m.about(name(m.pattern(t), mine.name, nil)))
				}
				require.NotContains(t, []codes.Code{
					codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented, codes.Internal, codes.Unknown,
				}, status.Code(err), "%s as %s: %v", m.FullName(), role, err)
			}
		}
	}
}

// testForeignIDs names another organization's things as if they were one's own.
func testForeignIDs(t *testing.T, i *installation) {
	mine, other := i.tenant(t), i.tenant(t)
	ids := other.populate(t)
	before := other.everything(t)
	for _, m := range i.methods(t) {
		pattern := m.pattern(t)
		if !m.may(accessv1.Role_ROLE_ADMIN) || strings.Count(pattern, "*") < 2 {
			continue
		}
		about := name(pattern, mine.name, ids)
		answer, err := m.call(t, mine.key, m.about(about))
		require.Contains(t, []codes.Code{codes.NotFound, codes.InvalidArgument}, status.Code(err), "%s %s: %v", m.FullName(), about, err)
		require.NotContains(t, answer, "of the other")
	}
	require.Equal(t, before, other.everything(t), "somebody else has changed it")

	// References inside of requests.
	foreign := "organizations/" + other.name
	for what, body := range map[string]string{
		"team":    fmt.Sprintf(`{"displayName":"x","targetUrl":"https://example.com/","triggers":["meeting.booked"],"teams":["%s/teams/%s"]}`, foreign, ids["teams"]),
		"trigger": fmt.Sprintf(`{"displayName":"x","targetUrl":"https://example.com/","triggers":[%q]}`, ids["triggers"]),
	} {
		code, answer := i.call(t, mine.key, "POST", mine.path("/webhooks"), body)
		require.Equal(t, http.StatusBadRequest, code, "%s: %s", what, answer)
	}
	for _, path := range []string{
		"/webhooks:batchGet?names=" + foreign + "/webhooks/" + ids["webhooks"],
		"/deliveries?filter=webhook%3D%22" + foreign + "%2Fwebhooks%2F" + ids["webhooks"] + "%22",
	} {
		_, answer := i.call(t, mine.key, "GET", mine.path(path), "")
		require.NotContains(t, answer, "of the other", path)
		require.NotContains(t, answer, `"attemptCount"`, path)
	}
}

// populate makes one of everything and returns the ids by their collections.
func (o *tenant) populate(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{"teams": "sales", "triggers": "custom.thing_done"}
	o.do(t, "POST", o.path("/teams?team_id=sales"), `{"displayName":"Team of the other"}`, nil)
	o.do(t, "POST", o.path("/triggers?trigger_id=custom.thing_done"), `{"displayName":"Trigger of the other","sample":"{}"}`, nil)
	o.do(t, "POST", o.path("/signingSecret:generate"), `{}`, nil)
	last := func(name string) string { return name[strings.LastIndex(name, "/")+1:] }

	r := newReceiver(t).answering(func(int, *http.Request) int { return http.StatusInternalServerError })
	h := o.webhook(t, r, `,"description":"of the other","retryPolicy":{"maxRetries":0}`, "meeting.booked", "custom.thing_done")
	ids["webhooks"] = h.id()
	o.inForce(t)
	event := uuid.NewString()
	o.publish(t, "meeting.booked", "/other", event)
	ids["deliveries"] = last(o.awaitState(t, event, "STATE_DEAD_LETTERED").Name)
	ids["deadLetters"] = ids["deliveries"]

	var keys struct{ APIKeys []struct{ Name string } }
	o.do(t, "GET", o.path("/apiKeys"), "", &keys)
	ids["apiKeys"] = last(keys.APIKeys[0].Name)
	o.do(t, "POST", "/v1/"+h.Name+":pause", "{}", nil)
	var resumed struct{ Operation struct{ Name string } }
	o.do(t, "POST", "/v1/"+h.Name+":resume", `{"sendMissed":true}`, &resumed)
	ids["operations"] = last(resumed.Operation.Name)
	require.Eventually(t, func() bool {
		var operation struct{ Done bool }
		o.do(t, "GET", "/v1/"+resumed.Operation.Name, "", &operation)
		return operation.Done
	}, patience, tick)
	return ids
}

// everything is what an organization has, as its admin sees it.
func (o *tenant) everything(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, path := range []string{"/webhooks", "/teams", "/triggers", "/signingSecret", "/deliveries", "/deadLetters", "/operations", "/auditLogEntries"} {
		code, answer := o.call(t, o.key, "GET", o.path(path), "")
		require.Equal(t, http.StatusOK, code, answer)
		all.WriteString(answer)
	}
	return all.String()
}
