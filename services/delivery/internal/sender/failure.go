package sender

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/meetwire/meetwire/pkg/target"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func isTimeout(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}

// classify names the failure of an attempt and says it in words that hold nothing of our own network.
func classify(err error, timeout time.Duration, at stage) (class, message string) {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		op          *net.OpError
		proxy       *proxyError
		unreachable *unreachableError
		slow        *slowTLSError
	)
	switch {
	case starved(err):
		return core.ErrorOverload, "too many connections are open; the receiver was not called"
	case errors.As(err, &proxy):
		return core.ErrorProxy, proxy.Error()
	case isTimeout(err) && at.call != nil && at.call.unanswered():
		return core.ErrorProxy, "the egress proxy did not answer in time"
	case errors.As(err, &unreachable) && unreachable.doubtful:
		return core.ErrorProxy, "the egress proxy has reached no receiver since it last failed to"
	case errors.As(err, &unreachable):
		return core.ErrorConnect, "no connection: the egress proxy does not reach the receiver"
	case errors.Is(err, target.ErrRefused):
		return core.ErrorAddress, "the host's address is not one that may be called"
	case errors.As(err, &dns) && dns.IsNotFound:
		return core.ErrorDNS, "the host name has no address"
	case errors.As(err, &dns), isTimeout(err) && at.resolving:
		return core.ErrorDNS, "the host name could not be looked up"
	case errors.As(err, &slow):
		return core.ErrorTimeout, slow.Error()
	case errors.As(err, &op) && op.Op == "dial" && op.Timeout() && !at.over:
		return core.ErrorTimeout, fmt.Sprintf("no connection within %s", connectTimeout)
	case isTimeout(err):
		return core.ErrorTimeout, fmt.Sprintf("no complete answer within %s", timeout)
	case errors.As(err, &certificate):
		return core.ErrorTLS, "the certificate is not valid: " + certificate.Err.Error()
	case errors.As(err, &record):
		return core.ErrorTLS, "the receiver does not speak TLS"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		// That is how crypto/tls tells of an alert. One can also come after our side of the handshake.
		return core.ErrorTLS, "the TLS handshake failed: " + op.Err.Error()
	case errors.As(err, &op) && op.Op == "dial":
		return core.ErrorConnect, "no connection: the receiver does not accept any"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
		return core.ErrorReset, "the connection was closed before there was an answer"
	case at.noTLS:
		return core.ErrorTLS, "the TLS handshake failed"
	}
	return core.ErrorProtocol, "the answer is not HTTP"
}
