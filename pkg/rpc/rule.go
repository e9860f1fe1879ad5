package rpc

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

// rule is the access rule of one method, made ready for use.
type rule struct {
	open   bool   // needs no credential, and is not one of Meetwire's: its requests are not checked
	public bool   // needs no credential
	roles  uint64 // bit n: the role n may call it; 0: nobody may

	fieldPath string                         // organization_field, for errors
	field     []protoreflect.FieldDescriptor // the same, from the request inwards; empty: not about one organization
}

// ruleOf reads the rule of a method, such as "/meetwire.ingest.v1.EventService/PublishEvent", from the
// descriptors that are linked into the program. Nobody may call a method without a rule, or with a rule that
// makes no sense.
func ruleOf(fullMethod string) rule {
	service, method, ok := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if !ok {
		return rule{}
	}
	if isOpenService(service) {
		return rule{open: true}
	}
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return rule{}
	}
	descriptor, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return rule{}
	}
	methodDescriptor := descriptor.Methods().ByName(protoreflect.Name(method))
	if methodDescriptor == nil {
		return rule{}
	}
	return compileRule(methodDescriptor)
}

// isOpenService reports whether a service tells nothing that needs protection.
func isOpenService(name string) bool {
	switch name {
	case "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection":
		return true
	}
	return false
}

func compileRule(method protoreflect.MethodDescriptor) rule {
	declared, ok := proto.GetExtension(method.Options(), accessv1.E_Rule).(*accessv1.Rule)
	if !ok || declared == nil {
		return rule{}
	}
	if declared.GetPublic() {
		// What everybody may call is not about one organization, nor for certain roles.
		return rule{public: declared.GetOrganizationField() == "" && len(declared.GetRoles()) == 0}
	}
	compiled := rule{fieldPath: declared.GetOrganizationField()}
	for _, role := range declared.GetRoles() {
		if role <= accessv1.Role_ROLE_UNSPECIFIED || role > accessv1.Role_ROLE_SERVICE {
			return rule{}
		}
		compiled.roles |= 1 << role
	}
	if compiled.fieldPath == "" {
		return compiled
	}
	compiled.field = resolveField(method.Input(), compiled.fieldPath)
	if compiled.field == nil {
		return rule{}
	}
	return compiled
}

// resolveField finds a singular string field by its path, nil when there is none.
func resolveField(message protoreflect.MessageDescriptor, path string) []protoreflect.FieldDescriptor {
	names := strings.Split(path, ".")
	fields := make([]protoreflect.FieldDescriptor, len(names))
	for i, name := range names {
		if message == nil {
			return nil
		}
		field := message.Fields().ByName(protoreflect.Name(name))
		if field == nil || field.IsList() || field.IsMap() {
			return nil
		}
		fields[i], message = field, field.Message()
	}
	if last := fields[len(fields)-1]; last.Kind() != protoreflect.StringKind {
		return nil
	}
	return slices.Clip(fields)
}

// allows reports whether a role may call the method.
func (r *rule) allows(role accessv1.Role) bool { return r.roles&(1<<role) != 0 }

// resourceName returns the resource name that says which organization a request is about.
func (r *rule) resourceName(request protoreflect.Message) string {
	last := len(r.field) - 1
	for _, field := range r.field[:last] {
		request = request.Get(field).Message() // of an unset field: an empty message
	}
	return request.Get(r.field[last]).String()
}
