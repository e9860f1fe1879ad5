package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

// anyOrganization stands for all organizations in a resource name.
const anyOrganization = "-"

// maxSlug is the greatest length of an organization's slug.
const maxSlug = 63

// gate decides who may call what.
type gate struct {
	keys       Keys // nil: there are no API keys here
	service    bool // whether serviceSum is that of a service token
	serviceSum [sha256.Size]byte
}

func newGate(keys Keys, serviceToken secret.String) *gate {
	g := &gate{keys: keys, service: !serviceToken.IsZero()}
	if g.service {
		g.serviceSum = sha256.Sum256([]byte(serviceToken.Reveal()))
	}
	return g
}

// admit finds out who calls and checks that the caller's role may call the method. In a public method the caller is
// nobody, also with a credential.
func (g *gate) admit(ctx context.Context, r *rule) (Caller, error) {
	if r.public {
		return Caller{}, nil
	}
	if r.roles == 0 {
		return Caller{}, fault.New(fault.PermissionDenied, "METHOD_NOT_OPEN", "nobody may call this method")
	}
	caller, err := g.authenticate(ctx)
	if err != nil {
		return Caller{}, err
	}
	if !r.allows(caller.Role) {
		return caller, fault.New(fault.PermissionDenied, "ROLE_NOT_ALLOWED", "the role %s may not call this method", roleName(caller.Role))
	}
	return caller, nil
}

func (g *gate) authenticate(ctx context.Context) (Caller, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(values) == 0 {
		return Caller{}, fault.New(fault.Unauthenticated, "UNAUTHENTICATED", "a credential is required: authorization: Bearer <API key>")
	}
	token, ok := bearer(values[0])
	if !ok || len(values) > 1 {
		return Caller{}, invalidCredential()
	}
	if id, sum, ok := ParseKey(token); ok && g.keys != nil {
		return g.callerOfKey(ctx, id, sum)
	}
	if g.service {
		sum := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(sum[:], g.serviceSum[:]) == 1 {
			return Caller{Role: accessv1.Role_ROLE_SERVICE}, nil
		}
	}
	return Caller{}, invalidCredential()
}

func (g *gate) callerOfKey(ctx context.Context, id string, sum [sha256.Size]byte) (Caller, error) {
	key, err := g.keys.Key(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return Caller{}, invalidCredential()
	}
	if err != nil {
		return Caller{}, err
	}
	if subtle.ConstantTimeCompare(sum[:], key.SecretSHA256[:]) != 1 {
		return Caller{}, invalidCredential()
	}
	// A caller without an organization is one for all of them, so a damaged key must not become that.
	if consistent := key.ID == id && validScope(key); !consistent {
		return Caller{}, fault.New(fault.Internal, "KEY_INCONSISTENT", "the stored API key %s is inconsistent", id)
	}
	if uses, ok := g.keys.(KeyUses); ok {
		uses.KeyUsed(key.ID)
	}
	return Caller{KeyID: key.ID, Role: key.Role, Organization: key.Organization}, nil
}

// validScope reports whether a key has a role that keys can have, and an organization exactly when the role
// needs one.
func validScope(key Key) bool {
	switch key.Role {
	case accessv1.Role_ROLE_OPERATOR:
		return key.Organization == ""
	case accessv1.Role_ROLE_ADMIN, accessv1.Role_ROLE_VIEWER, accessv1.Role_ROLE_PUBLISHER:
		return isSlug(key.Organization) && key.Organization != anyOrganization
	default:
		return false
	}
}

// invalidCredential is one text for every credential that is not valid, so that nobody learns which ids exist.
func invalidCredential() error {
	return fault.New(fault.Unauthenticated, "UNAUTHENTICATED", "the credential is not valid")
}

// checkOrganization checks that the request is about the caller's organization, before anything is looked up.
// A caller that has none may ask about each, and an operator about all at once.
func checkOrganization(caller Caller, r *rule, request proto.Message) error {
	if len(r.field) == 0 {
		return nil
	}
	organization, ok := organizationOf(r.resourceName(request.ProtoReflect()))
	switch {
	case !ok:
		return fault.Invalid(fault.Field{
			Path: r.fieldPath, Rule: "resource_name",
			Message: "must begin with organizations/{organization}, where the organization is 1 to 63 characters of a-z, 0-9 and -",
		})
	case caller.Organization == "" && (organization != anyOrganization || caller.Role == accessv1.Role_ROLE_OPERATOR):
		return nil
	case caller.Organization != "" && caller.Organization == organization:
		return nil
	default:
		return fault.New(fault.PermissionDenied, "OTHER_ORGANIZATION", "the credential is not for this organization")
	}
}

// organizationOf returns the second segment of `organizations/{organization}/…`.
func organizationOf(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "organizations/")
	if !ok {
		return "", false
	}
	organization, _, _ := strings.Cut(rest, "/")
	return organization, isSlug(organization)
}

func isSlug(s string) bool {
	if s == "" || len(s) > maxSlug {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// bearer returns the token of an authorization header (RFC 6750); the scheme's case does not matter.
func bearer(value string) (string, bool) {
	scheme, token, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	token = strings.TrimLeft(token, " ")
	return token, token != ""
}

// roleName returns the name of a role for people.
func roleName(role accessv1.Role) string {
	return strings.ToLower(strings.TrimPrefix(role.String(), "ROLE_"))
}
