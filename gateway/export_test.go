package gateway

import (
	"net/http"
	"net/netip"
)

// Forwarded is the client that a proxy asks for.
func Forwarded(proxies []netip.Prefix, proxy netip.Addr, r *http.Request) netip.Addr {
	client, _ := (&clients{proxies: proxies}).client(proxy, r)
	return client
}
