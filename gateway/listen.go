package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// ListenConfig says where a Server listens and how.
type ListenConfig struct {
	Addr string // host:port; port 0 picks one
	// CertFile and KeyFile, in PEM, turn TLS on. They are read again when they change.
	CertFile, KeyFile string
	// Certificate turns TLS on as well, and is asked at each handshake, the first of which
	// comes after Serve was called.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// AllowPlain permits plain HTTP on addresses other hosts can reach, where whoever is
	// on the way reads every secret.
	AllowPlain bool

	// AllowFrom are the addresses that clients may have; nil for any. Whoever has another is
	// hung up on, before a byte of his is read.
	AllowFrom []netip.Prefix
	// TrustedProxies are the addresses of proxies that tell the truth about their clients, in
	// X-Forwarded-For and X-Forwarded-Proto. What others say there is not listened to.
	TrustedProxies []netip.Prefix
	// MaxPerAddress is how many connections one address may have at a time, trusted proxies
	// excepted; 0 for any number.
	MaxPerAddress int

	// Log gets what the server has to say; nil discards.
	Log *slog.Logger
}

// Server is a listening server that does not serve yet.
type Server struct {
	listener    net.Listener
	secure      bool
	certificate *x509.Certificate
	clients     *clients
	log         *slog.Logger
}

// How long a client may take, and how long requests may take to finish at the end.
const (
	headerTimeout   = 10 * time.Second
	requestTimeout  = time.Minute
	answerTimeout   = 90 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 15 * time.Second
	maxHeader       = 64 << 10
)

// ErrPlain refuses to serve plain HTTP to a network.
var ErrPlain = errors.New("plain HTTP is for loopback addresses alone: give a certificate, or allow it")

// Listen opens the address. Plain HTTP on an address that is not a loopback one is
// ErrPlain, unless allowed.
func Listen(ctx context.Context, cfg ListenConfig) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("TLS needs both a certificate and its key")
	}
	if cfg.CertFile != "" && cfg.Certificate != nil {
		return nil, errors.New("TLS needs one certificate, not two")
	}
	s := &Server{secure: cfg.CertFile != "" || cfg.Certificate != nil, log: cfg.Log}
	s.clients = &clients{allowed: cfg.AllowFrom, proxies: cfg.TrustedProxies, max: cfg.MaxPerAddress, log: cfg.Log}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: cfg.Certificate}
	if cfg.CertFile != "" {
		certificate := &certificate{certFile: cfg.CertFile, keyFile: cfg.KeyFile, log: cfg.Log}
		if err := certificate.load(); err != nil {
			return nil, fmt.Errorf("reading the certificate: %w", err)
		}
		tlsConfig.GetCertificate, s.certificate = certificate.get, certificate.current.Leaf
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", cfg.Addr, err)
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !s.secure && !cfg.AllowPlain && (!ok || !tcp.IP.IsLoopback()) {
		_ = listener.Close()
		return nil, fmt.Errorf("listening on %s: %w", cfg.Addr, ErrPlain)
	}
	listener = &guarded{listener, s.clients}
	if s.secure {
		listener = tls.NewListener(listener, tlsConfig)
	}
	s.listener = listener
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is the endpoint by the address that it listens on.
func (s *Server) URL() string {
	scheme := "http"
	if s.secure {
		scheme = "https"
	}
	return scheme + "://" + s.listener.Addr().String()
}

// Certificate is what was in CertFile when the server began to listen; nil without one.
func (s *Server) Certificate() *x509.Certificate { return s.certificate }

// Close stops listening, for a server that is not to serve after all.
func (s *Server) Close() error { return s.listener.Close() }

// Serve serves h until ctx ends. Then streams end, requests finish, and it returns nil.
func (s *Server) Serve(ctx context.Context, h http.Handler) error {
	// Requests outlive ctx by as long as they may take to finish.
	base := context.WithValue(context.WithoutCancel(ctx), closingKey{}, ctx)
	server := &http.Server{
		Handler:           s.clients.behind(h),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		ConnContext:       connected,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil {
		err = errors.Join(fmt.Errorf("requests did not finish in time: %w", err), server.Close())
	}
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// certificate is a pair of files that may be replaced while the server runs.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // guards the rest
	current *tls.Certificate
	state   [2]fileState
	checked time.Time
}

type fileState struct {
	modified time.Time
	size     int64
}

// recheck is how often the files are looked at, when handshakes come.
const recheck = time.Second

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.checked) > recheck {
		c.checked = now
		state, err := c.stat()
		if err == nil && state != c.state {
			// Half of a new pair may be there already: the old one serves until both are.
			if err = c.load(); err == nil {
				c.log.Info("certificate reloaded")
			}
		}
		if err != nil {
			c.log.Warn("certificate not reloaded", slog.Any("err", err))
		}
	}
	return c.current, nil
}

func (c *certificate) load() error {
	state, err := c.stat()
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.current, c.state = &pair, state
	return nil
}

func (c *certificate) stat() (state [2]fileState, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return state, err
		}
		state[i] = fileState{info.ModTime(), info.Size()}
	}
	return state, nil
}
