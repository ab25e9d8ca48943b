package metadata

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// ECS's defaults for ECS_TASK_METADATA_RPS_LIMIT, here for each address by itself, so
// that one container cannot starve the others.
const (
	steadyRate = 40
	burstRate  = 60
)

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/v2/credentials", "/v2/credentials/", "/v2/credentials/{id}", "/v1/credentials"} {
		mux.HandleFunc("GET "+path, s.serveCredentials)
	}
	for _, version := range []string{"v3", "v4"} {
		v := "V" + version[1:]
		mux.HandleFunc("GET /"+version+"/{id}", s.documented(v+" container metadata", s.container))
		mux.HandleFunc("GET /"+version+"/{id}/{$}", s.documented(v+" container metadata", s.container))
		mux.HandleFunc("GET /"+version+"/{id}/task", s.documented(v+" task metadata", s.task))
		mux.HandleFunc("GET /"+version+"/{id}/taskWithTags", s.documented(v+" task metadata", s.taskWithTags))
		mux.HandleFunc("GET /"+version+"/{id}/stats", s.documented(v+" container stats", s.stats))
		mux.HandleFunc("GET /"+version+"/{id}/task/stats", s.documented(v+" task stats", s.taskStats))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.throttle.allow(source(r)) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func source(r *http.Request) netip.Addr {
	address, _ := netip.ParseAddrPort(r.RemoteAddr)
	return address.Addr().Unmap()
}

func answer(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		status, raw = http.StatusInternalServerError, []byte(`"failed to encode the answer"`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(raw)
}

// refusal is the error document of the credentials endpoint.
type refusal struct {
	Code          string `json:"code"`
	Message       string `json:"message"`
	HTTPErrorCode int    `json:"HTTPErrorCode"`
}

// serveCredentials is what SDKs call. It says of credentials that exist but are another
// task's the same as of those that do not exist.
func (s *Server) serveCredentials(w http.ResponseWriter, r *http.Request) {
	id, prefix := r.PathValue("id"), "CredentialsV2Request: "
	if r.URL.Path == "/v1/credentials" {
		id, prefix = r.URL.Query().Get("id"), "CredentialsV1Request: "
	}
	from := source(r)
	log := s.log.With("source", from.String())
	refuse := func(status int, code, message string) {
		log.Warn("refused credentials", "code", code)
		answer(w, status, refusal{code, prefix + message, status})
	}
	if id == "" {
		refuse(http.StatusBadRequest, "NoIdInRequest", "No ID in the request")
		return
	}
	s.mu.Lock()
	t := s.tasks[id]
	var members []*Container
	if t != nil {
		for _, c := range t.containers {
			members = append(members, c)
		}
	}
	s.mu.Unlock()
	if t == nil {
		refuse(http.StatusBadRequest, "InvalidIdInRequest", "Credentials not found")
		return
	}
	log = log.With("task", t.work.ARN)
	if !s.admits(r.Context(), from, members) {
		log = log.With("reason", "the request does not come from a container of the task")
		refuse(http.StatusBadRequest, "InvalidIdInRequest", "Credentials not found")
		return
	}
	s.mu.Lock()
	c := t.credentials
	s.mu.Unlock()
	if c == nil || c.AccessKeyID == "" || !c.Expiration.After(s.now()) {
		refuse(http.StatusServiceUnavailable, "CredentialsUninitialized", "Credentials uninitialized for ID")
		return
	}
	log.Info("gave credentials of the task role", "role", c.RoleARN, "access_key_id", c.AccessKeyID, "expires", c.Expiration)
	answer(w, http.StatusOK, struct {
		RoleArn, AccessKeyId, SecretAccessKey, Token, Expiration string
	}{c.RoleARN, c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expiration.UTC().Format(time.RFC3339)})
}

// documented finds the container that a request is of, and answers it with a document.
func (s *Server) documented(what string, document func(*http.Request, *Container) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		s.mu.Lock()
		c := s.containers[id]
		s.mu.Unlock()
		if c == nil || !s.admits(r.Context(), source(r), []*Container{c}) {
			if c != nil {
				s.log.Warn("refused metadata", "source", source(r).String(), "task", c.task.work.ARN, "container", c.name,
					"reason", "the request does not come from the container")
			}
			answer(w, http.StatusNotFound, what+" handler: unable to get container ID from request: unable to get docker ID from v3 endpoint ID: "+id)
			return
		}
		body, err := document(r, c)
		if err != nil {
			s.log.Warn("making a metadata document", "task", c.task.work.ARN, "container", c.name, "err", err)
			answer(w, http.StatusInternalServerError, "failed to get "+what[len("V4 "):])
			return
		}
		answer(w, http.StatusOK, body)
	}
}

// throttle is a token bucket for each address.
type throttle struct {
	now func() time.Time

	mu      sync.Mutex // guards buckets
	buckets map[netip.Addr]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func (t *throttle) allow(from netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if t.buckets == nil || len(t.buckets) > 1024 {
		t.buckets = map[netip.Addr]*bucket{} // more than the network has addresses
	}
	b := t.buckets[from]
	if b == nil {
		b = &bucket{burstRate, now}
		t.buckets[from] = b
	}
	b.tokens = min(burstRate, b.tokens+now.Sub(b.at).Seconds()*steadyRate)
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
