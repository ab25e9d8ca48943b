package engine

import "testing"

func TestStreamURL(t *testing.T) {
	for _, tt := range []struct{ asked, named, want string }{
		{"https://malote:8443", "https://malote:8443", "https://malote:8443"},
		{"https://proxy/", "http://proxy", "https://proxy"}, // which ends TLS
		{"https://proxy:443/malote", "http://proxy", "https://proxy:443/malote"},
		{"http://127.0.0.1:4680", "", "http://127.0.0.1:4680"},
		{"https://shared", "https://10.0.0.2:4680/", "https://10.0.0.2:4680"}, // one of several control planes
		{"https://shared", "https://shared:4680", "https://shared:4680"},
		{"http://[::1]:4680", "http://[::1]:4680", "http://[::1]:4680"},
	} {
		if got, err := streamURL(tt.asked, tt.named); err != nil || got != tt.want {
			t.Errorf("asked %s, which names %q: %s, %v, want %s", tt.asked, tt.named, got, err, tt.want)
		}
	}
	if got, err := streamURL("http://here", "http://[there"); err == nil {
		t.Errorf("no error, but %s", got)
	}
}
