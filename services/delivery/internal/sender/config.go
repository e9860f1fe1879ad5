package sender

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Config is what a sender works with.
type Config struct {
	// Allowed are the addresses, beside public ones, that may be called.
	Allowed []netip.Prefix
	// PerHost is how many attempts one host gets at once: so many idle connections to it are kept.
	PerHost int
	// Proxy is what every connection goes through; nil: none.
	Proxy *Proxy
	// ProxyResolves leaves it to the proxy to find the addresses of names. They are then not checked here.
	ProxyResolves bool
	// Roots are the certificate authorities that are trusted; nil: those of the system.
	Roots *x509.CertPool
	// Files is how many files and connections this process may have open; 0: as many as the system says.
	Files int
	// Resolver finds the addresses of names; nil: that of the system.
	Resolver *net.Resolver
	Now      func() time.Time
	NewID    func() string
}

// Roots returns the certificate authorities of the system and those in a PEM file. The file must hold at least one
// certificate and nothing else.
func Roots(path string) (*x509.CertPool, error) {
	rest, err := os.ReadFile(path) //nolint:gosec // G304: the operator names the file
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
	}
	for n := 1; ; n++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && n == 1:
			return nil, errors.New("the file holds no PEM certificate")
		case block == nil:
			return roots, nil
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("block %d of the file is a %s, not a CERTIFICATE", n, block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the file cannot be read: %w", n, err)
		}
		roots.AddCert(certificate)
	}
}

// maxIdleConns is how many idle connections are kept at most: each takes some tens of kilobytes.
const maxIdleConns = 4096

// bounds are the numbers of connections that a process with so many files can afford. The rest is for all else that
// it has open, and for the second connections and the questions to DNS that making a connection can take.
type bounds struct {
	attempts int // at once
	idle     int // kept for later attempts, over all hosts
	open     int // connections of any kind; with more of them all idle ones are closed
}

func boundsOf(files int) bounds {
	// Not one idle connection: net/http gives a connection back a moment before it gives out the answer, and if a second one
	// ended in that moment, the first would be closed for it, with its answer.
	return bounds{attempts: max(files/4, 1), idle: min(max(files/8, 2), maxIdleConns), open: max(files/2, 2)}
}

// Attempts is how many attempts a sender makes at once with so many files, or as the system says: 0. More would wait in
// Send for their turn, the healthy ones among them behind those that hang.
func Attempts(files int) int {
	if files <= 0 {
		files = openFiles()
	}
	return boundsOf(files).attempts
}

// openFiles is how many files the system lets this process have open.
func openFiles() int {
	const fewest, most = 256, math.MaxInt32
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fewest // a system that does not tell gets by with what every system allows
	}
	return int(min(limit.Cur, most))
}

// starved reports whether an error came about since this machine gives the process no more files or memory for
// connections. The resolver does not say so, but it has opened nothing if nothing can be opened.
func starved(err error) bool {
	var dns *net.DNSError
	if errors.As(err, &dns) && !dns.IsNotFound {
		file, opened := os.Open(os.DevNull)
		if opened == nil {
			opened = file.Close()
		}
		err = opened
	}
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}
