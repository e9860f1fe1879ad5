// Package proto owns the contracts of Meetwire: the .proto files in meetwire/, in gen/ the Go code and the
// OpenAPI document that are generated from them, and in openapi/ examples of answers.
package proto

import _ "embed"

// OpenAPI is the OpenAPI 2.0 document of the REST interface, as JSON.
//
//go:embed gen/openapi/meetwire.swagger.json
var OpenAPI []byte

// Examples has for the id of each operation an answer of an installation, as JSON. Tests of whole installations write
// it, and compare it with what an installation answers.
//
//go:embed openapi/examples.json
var Examples []byte
