package sender

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meetwire/meetwire/pkg/target"
)

// connectTimeout is how long connecting to a receiver may take, and then the TLS handshake.
const connectTimeout = 10 * time.Second

// dialer connects to receivers, directly or through the proxy, and only to addresses that may be called.
type dialer struct {
	policy        *target.Policy
	resolver      *net.Resolver
	direct        net.Dialer
	proxy         *Proxy
	proxyResolves bool
	tls           *tls.Config
	timeout       time.Duration // of a connection, and of a handshake

	limit int64        // of connections that are open or being made
	open  atomic.Int64 // so many are
	// relieve closes all idle connections. The transport by itself bounds only those of HTTP/1: the others would stay
	// open until they have been idle for long enough, however many they are.
	relieve func()
}

func newDialer(config *Config, limit int) *dialer {
	policy := target.New(config.Allowed)
	d := &dialer{
		policy: policy, resolver: config.Resolver, proxy: config.Proxy, proxyResolves: config.ProxyResolves,
		direct:  net.Dialer{Timeout: connectTimeout, Control: policy.Control, Resolver: config.Resolver},
		tls:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: config.Roots, NextProtos: []string{"h2", "http/1.1"}},
		timeout: connectTimeout,
		limit:   int64(limit),
	}
	if d.resolver == nil {
		d.resolver = net.DefaultResolver
	}
	return d
}

// within returns a context that ends with the time of the attempt that a connection is made for. The transport lets no
// context of a request end the making of a connection, as others could use it: so those to hosts that never answer
// would pile up for as long as connecting may take, which can be many times what the attempts may.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		return context.WithDeadline(ctx, t.deadline)
	}
	return context.WithCancel(ctx)
}

// dial implements http.Transport.DialContext.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	opened, err := d.reach(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return opened, nil
}

// slowTLSError is that a handshake took too long.
type slowTLSError struct{ limit time.Duration }

func (e *slowTLSError) Error() string { return fmt.Sprintf("no TLS handshake within %s", e.limit) }

// dialTLS implements http.Transport.DialTLSContext. The transport's own handshake would not end with the attempt.
func (d *dialer) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("split the address: %w", err)
	}
	opened, err := d.reach(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.ServerName = host
	secure := tls.Client(opened, config)
	if err := d.handshake(ctx, secure); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return secure, nil
}

func (d *dialer) handshake(ctx context.Context, secure *tls.Conn) error {
	limited, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	hooks := httptrace.ContextClientTrace(ctx)
	if hooks != nil {
		hooks.TLSHandshakeStart()
	}
	err := secure.HandshakeContext(limited)
	if hooks != nil {
		hooks.TLSHandshakeDone(secure.ConnectionState(), err)
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return &slowTLSError{limit: d.timeout}
	}
	return err
}

// reach makes a connection that is counted, and closes others if there are too many.
func (d *dialer) reach(ctx context.Context, network, address string) (*conn, error) {
	if d.open.Add(1) > d.limit {
		d.relieve()
	}
	release := sync.OnceFunc(func() { d.open.Add(-1) })
	opened, err := d.connect(ctx, network, address)
	if err != nil {
		release()
		return nil, err
	}
	opened.release = release
	return opened, nil
}

func (d *dialer) connect(ctx context.Context, network, address string) (*conn, error) {
	if d.proxy == nil {
		opened, err := d.direct.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: opened, remote: opened.RemoteAddr()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("split the address: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err} // as without a proxy: nobody listens there
	}
	if d.proxyResolves {
		if err := d.policy.CheckHost(host); err != nil {
			return nil, err
		}
		return d.proxy.connect(ctx, host, uint16(port))
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	return d.connectAny(ctx, addrs, uint16(port))
}

// resolve returns the addresses of a host that may be called, at least one.
func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	found, err := d.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var (
		good    []netip.Addr
		refused error
	)
	for _, addr := range found {
		addr = addr.Unmap()
		if err := d.policy.CheckAddr(addr); err != nil {
			refused = err
			continue
		}
		good = append(good, addr)
	}
	if len(good) == 0 {
		return nil, refused
	}
	return good, nil
}

// connectAny has the proxy connect to the first address that can be reached. Each gets its share of the time.
func (d *dialer) connectAny(ctx context.Context, addrs []netip.Addr, port uint16) (*conn, error) {
	var first error
	for i, addr := range addrs {
		share := ctx
		if deadline, ok := ctx.Deadline(); ok && i < len(addrs)-1 {
			var cancel context.CancelFunc
			share, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(addrs)-i))
			defer cancel()
		}
		opened, err := d.proxy.connect(share, addr.String(), port)
		if err == nil {
			opened.remote = net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, port))
			return opened, nil
		}
		if first == nil {
			first = err
		}
		var unreachable *unreachableError
		if !errors.As(err, &unreachable) && !isTimeout(err) || ctx.Err() != nil {
			break // that was not about this address
		}
	}
	return nil, first
}

// conn is a connection that is counted. Through a proxy its far end is the receiver, as far as that is known.
type conn struct {
	net.Conn
	remote  net.Addr
	release func()
}

func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
