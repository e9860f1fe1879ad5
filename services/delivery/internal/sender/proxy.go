package sender

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/meetwire/meetwire/pkg/secret"
)

// Proxy is the installation's way out: it is told an address and connects to it. It may itself be at any address.
// Receivers without TLS are reached through such a connection too: a proxy that was handed their requests would find
// out an address of its own.
type Proxy struct {
	scheme   string
	host     string
	address  string // with the port
	user     secret.String
	password secret.String
	tls      *tls.Config

	dialer net.Dialer
	made   time.Time
	// connected and failed are when it last connected somebody to a receiver, and when it last could not, in nanoseconds
	// since it was made.
	connected, failed atomic.Int64
}

// maxCredential is how long a user's name or password can be for SOCKS, in bytes.
const maxCredential = 255

// ParseProxy reads the URL of a proxy: http and https (CONNECT), or socks5, with a user and a password if it wants
// them. The roots, or nil for the system's, are those that one with https is trusted by. No error shows any part of the URL.
func ParseProxy(raw secret.String, roots *x509.CertPool) (*Proxy, error) {
	parsed, err := url.Parse(raw.Reveal())
	if err != nil {
		return nil, errors.New("must be a URL") // what is wrong with it would quote the password
	}
	ports := map[string]string{"http": "80", "https": "443", "socks5": "1080"}
	port, ok := ports[parsed.Scheme]
	switch {
	case !ok:
		return nil, errors.New("must begin with http://, https:// or socks5://")
	case parsed.Hostname() == "":
		return nil, errors.New("must name a host")
	case strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "":
		return nil, errors.New("must end after the host and port")
	}
	if parsed.Port() != "" {
		port = parsed.Port()
	}
	address := net.JoinHostPort(parsed.Hostname(), port)
	if _, err := net.ResolveTCPAddr("tcp", net.JoinHostPort("127.0.0.1", port)); err != nil || port == "0" {
		return nil, errors.New("must have a port from 1 to 65535")
	}
	password, _ := parsed.User.Password()
	if user := parsed.User.Username(); parsed.User != nil && parsed.Scheme == "socks5" &&
		(user == "" || len(user) > maxCredential || password == "" || len(password) > maxCredential) {
		return nil, fmt.Errorf("must have a user and a password of 1 to %d bytes each, or neither", maxCredential)
	}
	return &Proxy{
		scheme: parsed.Scheme, host: parsed.Hostname(), address: address,
		user: secret.New(parsed.User.Username()), password: secret.New(password),
		tls:    &tls.Config{MinVersion: tls.VersionTLS12, ServerName: parsed.Hostname(), RootCAs: roots},
		dialer: net.Dialer{Timeout: connectTimeout}, made: time.Now(),
	}, nil
}

// proxyError is a failure of the proxy itself: it is not the receiver's.
type proxyError struct {
	what string // that the proxy does, without anything of our own network
	err  error
}

func (e *proxyError) Error() string { return "the egress proxy " + e.what }
func (e *proxyError) Unwrap() error { return e.err }

// unreachableError is that the proxy could not connect to the receiver.
type unreachableError struct {
	answer string
	// doubtful is set when it has connected to nobody since it said so before: then it may be the proxy's own network,
	// or its DNS, that is down. Of all receivers one is blamed for that, once.
	doubtful bool
}

func (e *unreachableError) Error() string { return "the egress proxy answers: " + e.answer }

// call is a connection that the proxy is asked for.
type call struct {
	proxy *Proxy
	asked atomic.Int64 // when it was told the address, in nanoseconds since it was made; 0: it was not yet
}

// unanswered reports whether it is the proxy that keeps an attempt waiting. A proxy that says nothing may be waiting
// for the receiver itself, so it is not to blame if it has connected somebody else in the meantime.
func (c *call) unanswered() bool {
	asked := c.asked.Load()
	return asked == 0 || c.proxy.connected.Load() < asked
}

func (p *Proxy) clock() int64 { return max(int64(time.Since(p.made)), 1) }

// connect returns a connection to a host, an address or a name, by way of the proxy.
func (p *Proxy) connect(ctx context.Context, host string, port uint16) (*conn, error) {
	c := &call{proxy: p}
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		t.update(func() { t.call = c })
	}
	opened, err := p.dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, &proxyError{what: "cannot be reached", err: err}
	}
	through := opened
	if p.scheme == "https" {
		through = tls.Client(opened, p.tls)
	}
	// What the proxy says is waited for until the context ends.
	stop := context.AfterFunc(ctx, func() { _ = opened.SetDeadline(time.Unix(1, 0)) })
	err = p.converse(ctx, through, c, host, port)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return &conn{Conn: through, remote: opened.RemoteAddr()}, nil
	}
	if closed := opened.Close(); closed != nil {
		err = errors.Join(err, closed)
	}
	if ctx.Err() != nil && !c.unanswered() {
		return nil, fmt.Errorf("wait for the egress proxy: %w", ctx.Err())
	}
	return nil, err
}

// converse has the proxy connect to a host. Every error but an unreachableError is a proxyError.
func (p *Proxy) converse(ctx context.Context, conn net.Conn, c *call, host string, port uint16) error {
	if secure, ok := conn.(*tls.Conn); ok {
		if err := secure.HandshakeContext(ctx); err != nil {
			if isTimeout(err) {
				return &proxyError{what: "did not answer in time", err: err}
			}
			return &proxyError{what: "does not offer a valid TLS connection", err: err}
		}
	}
	talk := p.tunnel
	if p.scheme == "socks5" {
		talk = p.socks
	}
	err := talk(conn, c, host, port)
	var (
		refused     *proxyError
		unreachable *unreachableError
	)
	switch {
	case err == nil:
		p.connected.Store(p.clock())
		return nil
	case errors.As(err, &unreachable):
		unreachable.doubtful = p.connected.Load() <= p.failed.Swap(p.clock())
		return err
	case errors.As(err, &refused):
		return err
	case isTimeout(err):
		return &proxyError{what: "did not answer in time", err: err}
	}
	return &proxyError{what: "did not answer as a proxy does", err: err}
}

// lost reports whether it takes no connections any more.
func (p *Proxy) lost(ctx context.Context) bool {
	conn, err := p.dialer.DialContext(ctx, "tcp", p.address)
	if err == nil {
		err = conn.Close()
	}
	return err != nil
}

// asks notes that the proxy is told an address now.
func (c *call) asks() { c.asked.Store(c.proxy.clock()) }
