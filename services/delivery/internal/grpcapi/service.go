package grpcapi

import deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"

// Service implements DeliveryService.
type Service struct {
	unimplemented
	*Deliveries
	*Watching
	*Actions
}

// unimplemented is embedded by itself, so that its methods stand back behind those of the parts.
type unimplemented struct {
	deliveryv1.UnimplementedDeliveryServiceServer
}
