// Package openapi owns the document that describes the REST interface to people and their tools: what is generated from
// the contracts, with what the generator cannot know. It changes no route.
package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

// Example is an answer to an operation.
type Example struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

// object is a JSON object whose members are read as far as needed.
type object = map[string]any

// Document puts examples, by the ids of operations, into an OpenAPI 2.0 document, and says which operations need no key
// and which also answer 202. An error means that the two do not belong together.
func Document(generated, examples []byte) ([]byte, error) {
	var document object
	decoder := json.NewDecoder(bytes.NewReader(generated))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	var known map[string]Example
	if err := json.Unmarshal(examples, &known); err != nil {
		return nil, fmt.Errorf("read the examples: %w", err)
	}
	public := publicOperations()
	paths := make(object)
	for path, item := range member(document, "paths") {
		operations, ok := item.(object)
		if !ok {
			return nil, fmt.Errorf("read the OpenAPI document: %s has no operations", path)
		}
		for _, operation := range operations {
			if operation, ok := operation.(object); ok {
				complete(operation, known, public)
			}
		}
		// The generator takes the last letter from the name of a collection for the name of what is in it.
		paths[strings.ReplaceAll(path, "{"+wrong+"}", "{"+right+"}")] = operations
	}
	document["paths"] = paths
	if len(known) > 0 {
		return nil, fmt.Errorf("there are examples of operations that do not exist: %v", known)
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	return text, nil
}

// What the generator calls a delivery, and what it is called.
const wrong, right = "deliverie", "delivery"

// accepted reports whether an operation answers 202 when it has stored something, and 200 when it has only checked it or
// stored nothing.
func accepted(id string) bool {
	return id == "EventService_PublishEvent" || id == "EventService_PublishEvents"
}

// complete says about an operation what is known besides. It takes its example out of those that are left.
func complete(operation object, examples map[string]Example, public map[string]bool) {
	id, _ := operation["operationId"].(string)
	if public[id] {
		operation["security"] = []any{} // unlike none at all, this takes away that of the document
	}
	if parameters, ok := operation["parameters"].([]any); ok {
		for _, parameter := range parameters {
			if p, ok := parameter.(object); ok && p["name"] == wrong {
				p["name"] = right
			}
		}
	}
	responses := member(operation, "responses")
	if accepted(id) {
		stored := maps.Clone(member(responses, "200"))
		stored["description"] = "What was published is stored."
		responses[strconv.Itoa(http.StatusAccepted)] = stored
	}
	example, ok := examples[id]
	if !ok {
		return
	}
	if response := member(responses, strconv.Itoa(example.Status)); response != nil {
		response["examples"] = object{"application/json": example.Body}
		delete(examples, id)
	}
}

func member(of object, name string) object {
	inner, _ := of[name].(object)
	return inner
}

// publicOperations returns the ids of the operations that need no key: those whose contract says so.
func publicOperations() map[string]bool {
	public := make(map[string]bool)
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				rule, ok := proto.GetExtension(method.Options(), accessv1.E_Rule).(*accessv1.Rule)
				if ok && rule.GetPublic() {
					public[string(service.Name())+"_"+string(method.Name())] = true
				}
			}
		}
		return true
	})
	return public
}
