// Package gateway is the door: it speaks AWS's protocols, finds out who is asking, and
// calls the method of a service that is named like the operation.
//
// It promises: no method is called unless the request's signature has been verified, or it
// is one of those that decide about anybody, and its input satisfies the constraints of AWS's
// API description; what a service returns, error or panic included, leaves in AWS's form, and
// only once the audit has a record of it; no value of a request or an answer is ever logged.
//
// It knows the SDK's types and no service. Whether the caller may do what it asks, each
// operation decides itself.
package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/malote/malote/gateway/sigv4"
)

// DefaultMaxBody is how long a request's body may be when Config does not say.
const DefaultMaxBody = 1 << 20

// Config is what a gateway is made of.
type Config struct {
	// Services by signing name. Every exported method of an Impl is an operation.
	Services []Service
	// Credentials knows whose access keys are whose. Required.
	Credentials Credentials
	// Handlers serve what lies at and below a path ("/acs"), for requests with a valid
	// signature for any of Services. They find the caller in the context, may stream in
	// both directions, and end when the context does.
	Handlers map[string]http.Handler
	// Unsigned serve what lies at and below a path for anybody, such as those who were given
	// a token: they decide by themselves who may.
	Unsigned map[string]http.Handler
	// Audit has a record of each request for Services whose signature is right; nil has none.
	Audit Audit
	// Domains are names of this gateway below which S3's buckets have theirs:
	// bucket.s3.example.com.
	Domains []string
	// Regions that requests may be signed for; nil for any. The partition's services,
	// IAM and STS, may always be asked in us-east-1.
	Regions []string
	// Explain is what an error of a method's is answered with in the header
	// X-Malote-Encoded-Authorization-Message, "" for nothing; nil never has anything.
	Explain func(ctx context.Context, err error) string
	// Ready is why requests cannot be done now, in a line that everybody may read, "" when they
	// can. Nil never has a reason. Anybody may have it called, at any rate.
	Ready func(ctx context.Context) string
	// Counts counts the requests; nil is for nobody.
	Counts *Counts
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Log gets one line per request; nil discards.
	Log *slog.Logger
	// MaxBody is how many bytes a request's body may have; 0 means DefaultMaxBody.
	MaxBody int64
}

// Service is one of AWS's services and what does its operations.
type Service struct {
	Name string // the signing name: secretsmanager
	Impl any
	// MaxBody is how many bytes the body of a request for it may have; 0 means Config's.
	MaxBody int64
	// Anonymous are the operations that may be asked for without credentials: the method is
	// called, with a principal who is nobody, and decides by what the request brings. A
	// signature counts for S3's; on the others it means nothing.
	Anonymous []string
}

// Audit records requests. *audit.Requests does.
type Audit interface {
	// Begin is called before a request is looked at: reveals says that its answer holds
	// secrets. Its error refuses the request. What services decide in the context it returns
	// is part of the record.
	Begin(ctx context.Context, reveals bool) (context.Context, error)
	// End is called before the answer is written, with its error's code or "", and what of
	// input and output may be shown, as JSON or nil. Its error refuses the answer.
	End(ctx context.Context, code, message string, parameters, response []byte) error
}

type gateway struct {
	cfg      Config
	byName   map[string]*service
	byTarget map[string]*service // by the part of X-Amz-Target before the dot
	byAPI    map[string]*service // by Version, of the Query services
	rest     *service            // the one that has paths: S3; nil for none
	paths    []string            // of Handlers and Unsigned, longest first
	verifier sigv4.Verifier
	unknown  outcomes // of requests for no service
	date     atomic.Pointer[date]
}

// New returns the handler of all services. A service that is not AWS's is an error that
// names it. One with a method that is no operation fails its requests, since its methods are
// looked at with the first of them: Coverage finds it, for tests.
func New(cfg Config) (http.Handler, error) {
	if cfg.Credentials == nil {
		return nil, fmt.Errorf("gateway: no Credentials")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Counts == nil {
		cfg.Counts = new(Counts)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	cfg.Domains = slices.Clone(cfg.Domains)
	for i, domain := range cfg.Domains {
		cfg.Domains[i] = strings.ToLower(domain)
	}
	slices.SortStableFunc(cfg.Domains, func(x, y string) int { return len(y) - len(x) }) // s3.localhost before localhost
	g := &gateway{cfg: cfg, byName: map[string]*service{}, byTarget: map[string]*service{}, byAPI: map[string]*service{}, unknown: outcomes{service: "unknown", operation: "unknown"}}
	cfg.Counts.add(&g.unknown)
	for _, s := range cfg.Services {
		if g.byName[s.Name] != nil {
			return nil, fmt.Errorf("gateway: service %s is given twice", s.Name)
		}
		svc, err := newService(s, cfg.Counts)
		if err != nil {
			return nil, fmt.Errorf("gateway: %w", err)
		}
		g.byName[s.Name] = svc
		switch {
		case svc.query:
			g.byAPI[svc.model.Version] = svc
		case svc.router != nil:
			g.rest = svc
		default:
			g.byTarget[svc.model.Target] = svc
			// CloudTrail's is com.amazonaws.….CloudTrail_20131101 to the AWS CLI, and its last
			// part alone to the SDK for Go.
			g.byTarget[svc.model.Target[strings.LastIndexByte(svc.model.Target, '.')+1:]] = svc
		}
	}
	for _, handlers := range []map[string]http.Handler{cfg.Handlers, cfg.Unsigned} {
		for path, h := range handlers {
			if !strings.HasPrefix(path, "/") || path == "/" || strings.HasSuffix(path, "/") || h == nil || slices.Contains(g.paths, path) {
				return nil, fmt.Errorf("gateway: no handler can be at %q", path)
			}
			g.paths = append(g.paths, path)
		}
	}
	slices.SortFunc(g.paths, func(x, y string) int { return len(y) - len(x) })
	return g, nil
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := &exchange{g: g, w: w, r: r, start: g.cfg.Now(), id: newRequestID()}
	h := w.Header()
	h["x-amzn-RequestId"] = e.header(2, e.id)
	h["Date"] = g.dateAt(e.start)

	path := r.URL.Path
	switch {
	case g.rest != nil && g.isREST(r):
		e.serveREST()
	case (path == "/" || path == "/health") && isProbe(r):
		h["Content-Type"] = []string{"application/json"}
		_, _ = w.Write([]byte("{\"status\":\"ok\"}\n"))
	case path == "/ready" && isProbe(r):
		e.answerReady()
	case path == "/" || path == "":
		e.serve()
	default:
		for _, prefix := range g.paths {
			if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/') {
				if h := g.cfg.Unsigned[prefix]; h != nil {
					e.handleUnsigned(h)
				} else {
					e.handle(g.cfg.Handlers[prefix])
				}
				return
			}
		}
		if g.rest != nil {
			e.serveREST()
			return
		}
		e.refuse(&failure{code: "UnknownOperationException", status: http.StatusNotFound})
	}
}

// answerReady says whether requests can be done: 200, or 503 with the reason.
func (e *exchange) answerReady() {
	status, answer := http.StatusOK, "{\"status\":\"ready\"}\n"
	if e.g.cfg.Ready != nil {
		if reason := e.g.cfg.Ready(e.r.Context()); reason != "" {
			quoted, _ := json.Marshal(reason) // never fails for a string
			status, answer = http.StatusServiceUnavailable, "{\"status\":\"not ready\",\"reason\":"+string(quoted)+"}\n"
		}
	}
	e.w.Header()["Content-Type"] = []string{"application/json"}
	e.w.WriteHeader(status)
	_, _ = io.WriteString(e.w, answer)
}

// isProbe tells a question about liveness or readiness from a request by its having nothing of one.
func isProbe(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.URL.RawQuery == "" && r.Header.Get("Authorization") == ""
}

// date is the Date header of one second. AWS's clients set their clock by it, so it
// comes from the gateway's.
type date struct {
	second int64
	header []string
}

func (g *gateway) dateAt(t time.Time) []string {
	d := g.date.Load()
	if second := t.Unix(); d == nil || d.second != second {
		d = &date{second: second, header: []string{t.UTC().Format(http.TimeFormat)}}
		g.date.Store(d)
	}
	return d.header
}
