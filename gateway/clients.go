package gateway

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// clients knows from where a server may be asked.
type clients struct {
	allowed []netip.Prefix // nil: anywhere
	proxies []netip.Prefix
	max     int // connections of one address; 0 for any number
	log     *slog.Logger

	mu     sync.Mutex // guards the rest
	open   map[netip.Addr]int
	warned time.Time
}

func within(prefixes []netip.Prefix, address netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(address) {
			return true
		}
	}
	return false
}

// peer is the address of the other end.
func peer(remote string) netip.Addr {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return from.Addr().Unmap().WithZone("")
}

// enter takes a connection from an address in, or says why not. A proxy comes in for its
// clients, who are looked at one by one.
func (c *clients) enter(address netip.Addr) (refused string) {
	if within(c.proxies, address) {
		return ""
	}
	if c.allowed != nil && !within(c.allowed, address) {
		return "its address is not among those of --allow-from"
	}
	if c.max == 0 {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[address] >= c.max {
		return "its address has too many connections"
	}
	if c.open == nil {
		c.open = map[netip.Addr]int{}
	}
	c.open[address]++
	return ""
}

// leave gives back what enter took.
func (c *clients) leave(address netip.Addr) {
	if c.max == 0 || within(c.proxies, address) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[address]--; c.open[address] <= 0 {
		delete(c.open, address)
	}
}

// note logs a refusal. Whoever is refused may come a thousand times a second; the log hears
// of one of them.
func (c *clients) note(address netip.Addr, refused string) {
	c.mu.Lock()
	now := time.Now()
	quiet := now.Sub(c.warned) < time.Second
	if !quiet {
		c.warned = now
	}
	c.mu.Unlock()
	if !quiet {
		c.log.Warn("connection refused", slog.String("address", address.String()), slog.String("because", refused))
	}
}

// guarded is a listener that hangs up on whoever may not come in.
type guarded struct {
	net.Listener
	clients *clients
}

func (g *guarded) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := peer(conn.RemoteAddr().String())
		if refused := g.clients.enter(address); refused != "" {
			_ = conn.Close()
			g.clients.note(address, refused)
			continue
		}
		if g.clients.max == 0 {
			return conn, nil
		}
		return &counted{Conn: conn, leave: sync.OnceFunc(func() { g.clients.leave(address) })}, nil
	}
}

// counted is a connection that is missed when it ends.
type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// behind has h see the clients of trusted proxies as what they are.
func (c *clients) behind(h http.Handler) http.Handler {
	if c.proxies == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxy := peer(r.RemoteAddr)
		if !within(c.proxies, proxy) {
			h.ServeHTTP(w, r)
			return
		}
		address, secure := c.client(proxy, r)
		if c.allowed != nil && !within(c.allowed, address) {
			c.note(address, "its address is not among those of --allow-from")
			w.Header().Set("Connection", "close")
			http.Error(w, "malote: this address may not ask", http.StatusForbidden)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), clientKey{}, &client{address: address, proxied: true, overTLS: secure}))
		r.RemoteAddr = netip.AddrPortFrom(address, 0).String()
		h.ServeHTTP(w, r)
	})
}

// client is who a proxy asks for. Each proxy adds to X-Forwarded-For whom it was asked by,
// so that the last address which is no trusted proxy's is the client's; all before it may be
// of his invention. A client whom no one named is the proxy itself. Over TLS he came when
// the proxies say so and none says otherwise.
func (c *clients) client(proxy netip.Addr, r *http.Request) (client netip.Addr, secure bool) {
	client = proxy
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	named := false
	for i := len(hops) - 1; i >= 0; i-- {
		address, ok := hop(hops[i])
		if !ok {
			break
		}
		client, named = address, true
		if !within(c.proxies, address) {
			break
		}
	}
	if !named {
		return client, r.TLS != nil
	}
	protocols := strings.Split(strings.Join(r.Header.Values("X-Forwarded-Proto"), ","), ",")
	for _, protocol := range protocols {
		if !strings.EqualFold(strings.TrimSpace(protocol), "https") {
			return client, false
		}
	}
	return client, true
}

// hop reads one entry of X-Forwarded-For: an address, with or without a port.
func hop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if address, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return address.Unmap().WithZone(""), true
	}
	if from, err := netip.ParseAddrPort(s); err == nil {
		return from.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

// client is who is at the other end of a connection, or of a trusted proxy's.
type client struct {
	address netip.Addr
	proxied bool
	overTLS bool // of one behind a proxy
}

// clientKey is where a connection's context has its client, and a request's another.
type clientKey struct{}

// connected is the context of a connection.
func connected(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, clientKey{}, &client{address: peer(conn.RemoteAddr().String())})
}

// tlsVersion is that of a client which came without a proxy.
func (c *client) tlsVersion(r *http.Request) string {
	if r.TLS == nil || r.TLS.Version == 0 || c.proxied { // 0: it did not leave the process
		return ""
	}
	return strings.TrimPrefix(tls.VersionName(r.TLS.Version), "TLS ")
}

// secure reports whether the client came over TLS.
func (c *client) secure(r *http.Request) bool {
	if c.proxied {
		return c.overTLS
	}
	return r.TLS != nil
}
