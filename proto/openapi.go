// Package proto owns the contracts of Meetwire: the .proto files in meetwire/, and in gen/ the Go code and the
// OpenAPI document that are generated from them.
package proto

import _ "embed"

// OpenAPI is the OpenAPI 2.0 document of the REST interface, as JSON.
//
//go:embed gen/openapi/meetwire.swagger.json
var OpenAPI []byte
