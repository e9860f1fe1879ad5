package grpcapi

import ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"

// Events implements EventService.
type Events struct {
	unimplemented
	*Publishing
	*Explaining
	*History
	*Work
}

// unimplemented is embedded by itself, so that its methods stand back behind those of the parts.
type unimplemented struct {
	ingestv1.UnimplementedEventServiceServer
}
