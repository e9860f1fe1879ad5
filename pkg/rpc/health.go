package rpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Anyone may ask for the health, so that what is behind it is asked at most once per interval.
const (
	healthInterval = time.Second
	healthTimeout  = 2 * time.Second
)

// health serves grpc.health.v1. The server as a whole (the empty name) and each registered service have the
// same status.
type health struct {
	healthv1.UnimplementedHealthServer

	probe    func(context.Context) error // nil: always healthy
	interval time.Duration
	services func() map[string]grpc.ServiceInfo

	stopOnce sync.Once
	stopping chan struct{} // closed when the server begins to stop

	mu       sync.Mutex
	healthy  bool
	probedAt time.Time // zero: never
}

func newHealth(probe func(context.Context) error) *health {
	return &health{probe: probe, interval: healthInterval, stopping: make(chan struct{})}
}

// register makes it a service of the server. The service's description carries it along, so that Serve, which
// is given nothing but the server, finds it.
func (h *health) register(server *grpc.Server) {
	h.services = server.GetServiceInfo
	description := healthv1.Health_ServiceDesc
	description.Metadata = h
	server.RegisterService(&description, h)
}

// healthOf returns the health service that NewServer has given to a server, nil when another function made it.
func healthOf(server *grpc.Server) *health {
	h, _ := server.GetServiceInfo()[healthv1.Health_ServiceDesc.ServiceName].Metadata.(*health)
	return h
}

// stop makes the status NOT_SERVING for good and ends the streams of Watch, for which a server that stops
// would wait.
func (h *health) stop() { h.stopOnce.Do(func() { close(h.stopping) }) }

// Check implements grpc.health.v1.
func (h *health) Check(ctx context.Context, request *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	if !h.known(request.GetService()) {
		return nil, fault.New(fault.NotFound, "SERVICE_NOT_FOUND", "unknown service")
	}
	return &healthv1.HealthCheckResponse{Status: h.status(ctx)}, nil
}

// List implements grpc.health.v1.
func (h *health) List(ctx context.Context, _ *healthv1.HealthListRequest) (*healthv1.HealthListResponse, error) {
	status := h.status(ctx)
	statuses := map[string]*healthv1.HealthCheckResponse{"": {Status: status}}
	for name := range h.services() {
		statuses[name] = &healthv1.HealthCheckResponse{Status: status}
	}
	return &healthv1.HealthListResponse{Statuses: statuses}, nil
}

// Watch implements grpc.health.v1. A change is told within a second.
func (h *health) Watch(request *healthv1.HealthCheckRequest, stream grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	ctx := stream.Context()
	ticker := time.NewTicker(h.interval)
	defer ticker.Stop()
	last := healthv1.HealthCheckResponse_UNKNOWN
	for stopping := false; ; {
		status := healthv1.HealthCheckResponse_SERVICE_UNKNOWN
		if h.known(request.GetService()) {
			status = h.status(ctx)
		}
		if status != last {
			if err := stream.Send(&healthv1.HealthCheckResponse{Status: status}); err != nil {
				return err
			}
			last = status
		}
		if stopping {
			return nil
		}
		select {
		case <-ticker.C:
		case <-h.stopping:
			stopping = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *health) known(service string) bool {
	if service == "" {
		return true
	}
	_, ok := h.services()[service]
	return ok
}

func (h *health) status(ctx context.Context) healthv1.HealthCheckResponse_ServingStatus {
	select {
	case <-h.stopping:
		return healthv1.HealthCheckResponse_NOT_SERVING
	default:
	}
	if h.healthyNow(ctx) {
		return healthv1.HealthCheckResponse_SERVING
	}
	return healthv1.HealthCheckResponse_NOT_SERVING
}

// healthyNow returns what the probe says, or has said within the interval. Callers that come meanwhile wait for
// the same answer.
func (h *health) healthyNow(ctx context.Context) bool {
	if h.probe == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.probedAt.IsZero() && time.Since(h.probedAt) < h.interval {
		return h.healthy
	}
	// Not canceled with the caller: the answer is for others too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	h.healthy = h.probe(ctx) == nil
	h.probedAt = time.Now()
	return h.healthy
}
