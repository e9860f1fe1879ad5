package sender

import (
	"context"
	"net"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// zone is what a server of DNS knows. A name stands for its addresses in turn: with each question for one the next.
type zone struct {
	mu     sync.Mutex
	names  map[string][]netip.Addr
	code   dnsmessage.RCode // of every answer
	silent bool             // it gives none
	asked  map[string]int
}

// serveDNS starts a server of DNS and returns a resolver that asks nobody else.
func serveDNS(t *testing.T, z *zone) *net.Resolver {
	t.Helper()
	z.asked = make(map[string]int)
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := z.answer(buffer[:n]); answer != nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	})
	var (
		mu    sync.Mutex
		conns []net.Conn
		ended bool
	)
	t.Cleanup(func() {
		require.NoError(t, socket.Close())
		serving.Wait()
		mu.Lock()
		defer mu.Unlock()
		ended = true
		for _, conn := range conns {
			_ = conn.Close() // else the resolver would go on waiting for an answer
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return nil, net.ErrClosed
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", socket.LocalAddr().String())
		if err == nil {
			conns = append(conns, conn)
		}
		return conn, err
	}}
}

// questions returns how often the address of a name was asked for.
func (z *zone) questions(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[name]
}

// answer returns the answer to a question, or nil when there is to be none.
func (z *zone) answer(packet []byte) []byte {
	var message dnsmessage.Message
	if err := message.Unpack(packet); err != nil || len(message.Questions) != 1 {
		return nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	question := message.Questions[0]
	name := strings.TrimSuffix(question.Name.String(), ".")
	message.Response, message.RecursionAvailable, message.RCode, message.Additionals = true, true, z.code, nil
	addrs, known := z.names[name]
	if !known && z.code == dnsmessage.RCodeSuccess {
		message.RCode = dnsmessage.RCodeNameError
	}
	if question.Type == dnsmessage.TypeA {
		turn := z.asked[name]
		z.asked[name]++
		if len(addrs) > 0 && addrs[turn%len(addrs)].Is4() {
			message.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: addrs[turn%len(addrs)].As4()},
			}}
		}
	}
	if question.Type == dnsmessage.TypeAAAA && len(addrs) == 1 && addrs[0].Is6() {
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AAAAResource{AAAA: addrs[0].As16()},
		}}
	}
	packed, err := message.Pack()
	if err != nil || z.silent {
		return nil
	}
	return packed
}

func addrs(texts ...string) []netip.Addr {
	all := make([]netip.Addr, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParseAddr(text)
	}
	return all
}

func port(server *httptest.Server) string {
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	return port
}

func TestSendToANameThatIsNotFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		zone *zone
		says string
	}{
		"there is no such name":        {zone: &zone{}, says: "the host name has no address"},
		"it has no address":            {zone: &zone{names: map[string][]netip.Addr{"receiver.example": nil}}, says: "the host name has no address"},
		"its server fails":             {zone: &zone{code: dnsmessage.RCodeServerFailure}, says: "the host name could not be looked up"},
		"its server refuses to answer": {zone: &zone{code: dnsmessage.RCodeRefused}, says: "the host name could not be looked up"},
	} {
		s := newSender(t, func(c *Config) { c.Resolver = serveDNS(t, test.zone) })
		attempt := send(t, s, post("https://receiver.example/hook"))
		requireFailed(t, attempt, core.ErrorDNS)
		require.Equal(t, test.says, attempt.ErrorMessage, name)
		require.Positive(t, attempt.Timings.DNS, name)
		require.Equal(t, core.Timings{DNS: attempt.Timings.DNS}, attempt.Timings, "nothing else happened")
		require.Empty(t, attempt.RemoteAddr)
	}
}

func TestSendToANameWhoseServerNeverAnswers(t *testing.T) {
	t.Parallel()
	s := newSender(t, func(c *Config) { c.Resolver = serveDNS(t, &zone{silent: true}) })
	request := post("https://receiver.example/hook")
	request.Timeout = 200 * time.Millisecond
	attempt := send(t, s, request)
	requireFailed(t, attempt, core.ErrorDNS)
	require.Equal(t, "the host name could not be looked up", attempt.ErrorMessage)
	require.GreaterOrEqual(t, attempt.Duration, request.Timeout)
	require.Positive(t, attempt.Timings.DNS, "what has been waited for is told")
}

// The lookup can be told of as failed just before the attempt is.
func TestAttemptWhoseTimeEndsWithItsLookup(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	_, tr := newTrace(ctx)
	class := func() string {
		found, _ := classify(ctx.Err(), time.Second, tr.stage())
		return found
	}
	look := func() {
		tr.hooks.GetConn("receiver.example:443")
		tr.hooks.DNSStart(httptrace.DNSStartInfo{Host: "receiver.example"})
	}
	look()
	require.Equal(t, core.ErrorDNS, class(), "it goes on")
	tr.hooks.DNSDone(httptrace.DNSDoneInfo{Err: context.DeadlineExceeded})
	require.Equal(t, core.ErrorDNS, class(), "it has failed")

	ours, _ := net.Pipe()
	t.Cleanup(func() { require.NoError(t, ours.Close()) })
	tr.hooks.GotConn(httptrace.GotConnInfo{Conn: ours, Reused: true})
	require.Equal(t, core.ErrorTimeout, class(), "it was not needed: another connection has become free")

	look()
	tr.hooks.DNSDone(httptrace.DNSDoneInfo{Err: context.DeadlineExceeded})
	tr.hooks.GetConn("receiver.example:443")
	require.Equal(t, core.ErrorTimeout, class(), "a new one has not begun")
	tr.hooks.DNSStart(httptrace.DNSStartInfo{Host: "receiver.example"})
	tr.hooks.DNSDone(httptrace.DNSDoneInfo{})
	require.Equal(t, core.ErrorTimeout, class(), "it has succeeded")
}

func TestSendToANameThatChangesItsAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	connections := countConnections(server)
	server.Start()
	t.Cleanup(server.Close)
	z := &zone{names: map[string][]netip.Addr{"rebind.example": addrs("93.184.216.34", "127.0.0.1")}}
	resolver := serveDNS(t, z)
	s := newSender(t, func(c *Config) { c.Allowed, c.Resolver = nil, resolver })

	// That is what someone sees who looks the name up before they have it called.
	found, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example")
	require.NoError(t, err)
	require.Equal(t, addrs("93.184.216.34"), found)
	requireFailed(t, send(t, s, post("http://rebind.example:"+port(server))), core.ErrorAddress)
	require.Zero(t, connections.Load())
	require.Equal(t, 2, z.questions("rebind.example"))
}

func TestSendToANameOfARefusedAddress(t *testing.T) {
	t.Parallel()
	z := &zone{names: map[string][]netip.Addr{
		"metadata.example": addrs("169.254.169.254"), "six.example": addrs("::1"), "nat.example": addrs("64:ff9b::a9fe:a9fe"),
	}}
	s := newSender(t, func(c *Config) { c.Allowed, c.Resolver = nil, serveDNS(t, z) })
	for name := range z.names {
		requireFailed(t, send(t, s, post("https://"+name+"/")), core.ErrorAddress)
	}
}
