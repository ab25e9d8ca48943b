// Package restxml is how S3 is spoken to: the operation in the method, the path and the
// query, its members in headers and XML, and bodies that stream.
//
// It promises: what Decode returns is what the client sent, or an error that says what of
// it cannot be read; a member that a client sent and the API does not know is left out, as
// on AWS.
//
// It checks no signature and no constraint.
package restxml

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/malote/malote/gateway/model"
)

// Target is what a request is about.
type Target struct {
	Bucket string // "": the service itself
	Key    string // "": the bucket
}

// ParseTarget finds bucket and key. The host is that of the request; where it is a name
// below one of the domains, the name is the bucket's. Where a domain is below another it has
// to come first.
func ParseTarget(r *http.Request, domains []string) (Target, bool) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/")
	var t Target
	if bucket, ok := bucketOfHost(r.Host, domains); ok {
		t.Bucket = bucket
	} else {
		t.Bucket, path, _ = strings.Cut(path, "/")
	}
	var err error
	if t.Key, err = url.PathUnescape(path); err != nil {
		return t, false
	}
	t.Bucket, err = url.PathUnescape(t.Bucket)
	return t, err == nil
}

func bucketOfHost(host string, domains []string) (string, bool) {
	host = strings.ToLower(host)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	for _, domain := range domains {
		if host == domain {
			return "", false
		}
		if bucket, ok := strings.CutSuffix(host, "."+domain); ok && bucket != "" {
			return bucket, true
		}
	}
	return "", false
}

// Router finds the operation that a request asks for.
type Router struct{ routes func() map[place][]route }

// place is what a method is used on.
type place struct {
	method      string
	bucket, key bool
}

type route struct {
	operation string
	done      bool
	query     [][2]string // which must be there; "" is any value
	headers   []string    // which must be there
}

// NewRouter knows all operations of a service; done says which of them are. Where several
// fit a request equally well, one that is done is preferred: the API has old names besides
// new ones. What it knows it reads when it is first asked, for that takes the description of
// all operations.
func NewRouter(m *model.Service, done func(operation string) bool) *Router {
	return &Router{routes: sync.OnceValue(func() map[place][]route { return routesOf(m, done) })}
}

func routesOf(m *model.Service, done func(operation string) bool) map[place][]route {
	all := map[place][]route{}
	for _, name := range m.Operations() {
		op, _ := m.Operation(name)
		path, static, _ := strings.Cut(op.HTTP.URI, "?")
		at := place{op.HTTP.Method, strings.Contains(path, "{Bucket}"), strings.Contains(path, "{Key+}")}
		if !at.bucket && path != "/" {
			continue // another endpoint's
		}
		found := route{operation: name, done: done(name)}
		for pair := range strings.SplitSeq(static, "&") {
			if name, value, _ := strings.Cut(pair, "="); name != "" {
				found.query = append(found.query, [2]string{name, value})
			}
		}
		if op.Input != nil {
			for _, member := range op.Input.Required {
				switch b := op.Input.Members[member].Binding; b.Location {
				case "querystring":
					found.query = append(found.query, [2]string{b.Name, ""})
				case "header":
					found.headers = append(found.headers, b.Name)
				}
			}
		}
		all[at] = append(all[at], found)
	}
	for _, routes := range all {
		slices.SortStableFunc(routes, func(x, y route) int {
			if n := len(y.query) + len(y.headers) - len(x.query) - len(x.headers); n != 0 {
				return n
			}
			if x.done != y.done {
				if x.done {
					return -1
				}
				return 1
			}
			return strings.Compare(x.operation, y.operation)
		})
	}
	return all
}

// Operation names what the request asks for: the most special of the operations all of
// whose marks it has. It is "" when there is none.
func (rt *Router) Operation(r *http.Request, t Target, query url.Values) string {
	for _, candidate := range rt.routes()[place{r.Method, t.Bucket != "", t.Key != ""}] {
		if candidate.fits(r, query) {
			return candidate.operation
		}
	}
	return ""
}

func (c *route) fits(r *http.Request, query url.Values) bool {
	for _, pair := range c.query {
		values, ok := query[pair[0]]
		if !ok || pair[1] != "" && !slices.Contains(values, pair[1]) {
			return false
		}
	}
	for _, name := range c.headers {
		if r.Header.Get(name) == "" {
			return false
		}
	}
	return true
}
