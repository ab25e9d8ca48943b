// Package malotetest is a whole malote in one line, for tests: the control plane over real
// HTTP, with every signature checked and every policy enforced.
//
//	sys := malotetest.New(t)
//	client := secretsmanager.NewFromConfig(sys.Config())
//
// Values come from sys.Canary(). When the test ends, everything that malote wrote - its
// store, its log at debug level, its audit, the errors it answered - is searched for them.
package malotetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/controlplane"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/malotetest/canary"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/functions"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/service/s3/blobs"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/memory"
)

// Account and Region are what a System has.
const (
	Account = "123456789012"
	Region  = "us-east-1"

	adminKey    = "AKIAMALOTETESTADMIN1"
	adminSecret = "only-for-tests/admin/only-for-tests/0001"
)

// System is a running control plane.
type System struct {
	Clock    *Clock
	Canaries *canary.Set

	t       testing.TB
	server  *httptest.Server
	plane   *controlplane.ControlPlane
	raw     store.Store // beneath the keyring
	objects string      // the folder of objects' bodies
	trail   string      // the audit
	logged  *buffer
	errors  *buffer // every body that was answered with a status of 400 and more
}

// Option changes what New starts.
type Option func(*options)

type options struct {
	store     store.Store
	clock     *Clock
	functions map[string]functions.Definition
	rotators  func(name string, options map[string]string) (rotation.Function, error)
	engine    *controlplane.Engine
}

// Rotation gives the system rotation functions, and those that a definition may call
// builtin.
func Rotation(definitions map[string]functions.Definition, builtin map[string]rotation.Function) Option {
	return func(o *options) { o.functions, o.rotators = definitions, Rotators(builtin) }
}

// Rotators are functions by name that take no options.
func Rotators(builtin map[string]rotation.Function) func(string, map[string]string) (rotation.Function, error) {
	return func(name string, options map[string]string) (rotation.Function, error) {
		if builtin[name] == nil || len(options) > 0 {
			return nil, fmt.Errorf("the test has no function %q with options %v", name, options)
		}
		return builtin[name], nil
	}
}

// Engine tells the system of the engine where rotation functions' images run.
func Engine(e controlplane.Engine) Option { return func(o *options) { o.engine = &e } }

// RunAt has the system see the time of a clock, which others may see too.
func RunAt(clock *Clock) Option { return func(o *options) { o.clock = clock } }

// Store has the system keep its records in st, below the keyring, instead of in memory.
func Store(st store.Store) Option { return func(o *options) { o.store = st } }

// New starts a control plane for the duration of the test.
func New(t testing.TB, with ...Option) *System {
	t.Helper()
	o := options{clock: new(Clock)}
	for _, option := range with {
		option(&o)
	}
	if o.store == nil {
		o.store = memory.New()
	}
	dir := t.TempDir()
	root := seal.NewFile(filepath.Join(dir, "root.key"))
	trail := filepath.Join(dir, "audit.log")
	records, err := audit.Open(trail, audit.Options{Now: o.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	s := &System{Clock: o.clock, Canaries: new(canary.Set), t: t, raw: o.store, logged: new(buffer), errors: new(buffer)}
	s.objects, s.trail = filepath.Join(dir, "objects"), trail
	bodies, err := blobs.OpenFolder(s.objects)
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.plane, err = controlplane.Open(t.Context(), controlplane.Config{
		Store: o.store, Seal: root, Audit: records, Blobs: bodies,
		Bootstrap: directory.BootstrapConfig{Account: Account, AdminAccessKeyID: adminKey, AdminSecretAccessKey: adminSecret},
		Endpoint:  "http://" + s.server.Listener.Addr().String(),
		Local:     "http://" + s.server.Listener.Addr().String(),

		RotationFunctions: o.functions, Rotators: o.rotators, Engine: o.engine,

		Now: o.clock.Now,
		Log: slog.New(slog.NewTextHandler(s.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.server.Start()
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
		if err := s.plane.Close(); err != nil {
			t.Errorf("closing the control plane: %v", err)
		}
		if err := records.Close(); err != nil {
			t.Errorf("closing the audit: %v", err)
		}
		s.sweep()
		if err := bodies.Close(); err != nil {
			t.Errorf("closing the folder of bodies: %v", err)
		}
		if err := s.raw.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// serve passes a request on and keeps a copy of what was refused.
func (s *System) serve(w http.ResponseWriter, r *http.Request) {
	s.plane.Handler.ServeHTTP(&recorder{ResponseWriter: w, errors: s.errors}, r)
}

// Endpoint is the URL of the control plane.
func (s *System) Endpoint() string { return s.server.URL }

// Objects is the folder in which the bodies of objects are.
func (s *System) Objects() string { return s.objects }

// Audit is the file of the audit. It has a request's record when its answer has come, or a
// moment later.
func (s *System) Audit() string { return s.trail }

// Metrics answers GET /metrics, as at malote up --metrics-listen.
func (s *System) Metrics() http.Handler { return s.plane.Metrics }

// Handler is the control plane itself, for an engine in the same process.
func (s *System) Handler() http.Handler { return s.server.Config.Handler }

// Services are those that the control plane has.
func (s *System) Services() []gateway.Service { return s.plane.Services }

// Config is the configuration of the user admin.
func (s *System) Config() aws.Config { return s.config(adminKey, adminSecret, "") }

func (s *System) config(id, secret, token string) aws.Config {
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(s.Endpoint()),
		Credentials:  credentials.NewStaticCredentialsProvider(id, secret, token),
		HTTPClient:   s.server.Client(),
		// A second attempt alone, without delay: the SDK corrects its clock by it.
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = 2
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
			})
		},
	}
}

// User makes a user with one inline policy ("" for none) and returns its configuration.
func (s *System) User(t testing.TB, name, policy string) aws.Config {
	t.Helper()
	client := iam.NewFromConfig(s.Config())
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	if policy != "" {
		if _, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("test"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	key, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return s.config(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, "")
}

// Role makes a role that its account may assume, with one inline policy ("" for none),
// and returns the configuration of a session of it.
func (s *System) Role(t testing.TB, name, policy string) aws.Config {
	t.Helper()
	client := iam.NewFromConfig(s.Config())
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + Account + `:root"},"Action":"sts:AssumeRole"}]}`
	role, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	if policy != "" {
		if _, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("test"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	session, err := sts.NewFromConfig(s.Config()).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("test")})
	if err != nil {
		t.Fatal(err)
	}
	return s.config(*session.Credentials.AccessKeyId, *session.Credentials.SecretAccessKey, *session.Credentials.SessionToken)
}

// Allow is a policy document that allows the actions on the resource.
func Allow(resource string, actions ...string) string {
	list, _ := json.Marshal(actions)
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%s,"Resource":%q}]}`, list, resource)
}

// Canary is a distinctive value of 36 characters that must be found nowhere at the end.
func (s *System) Canary() string { return s.Canaries.New() }

// sweep searches everything that malote wrote.
func (s *System) sweep() {
	var hits []canary.Hit
	hits = append(hits, s.Canaries.Bytes("the log", s.logged.Bytes())...)
	hits = append(hits, s.Canaries.Bytes("an error", s.errors.Bytes())...)
	written, err := os.ReadFile(s.trail)
	if err != nil {
		s.t.Errorf("reading the audit: %v", err)
	}
	hits = append(hits, s.Canaries.Bytes("the audit", written)...)
	err = s.raw.View(context.Background(), func(tx store.Tx) error {
		for entry, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			hits = append(hits, s.Canaries.Bytes("the store, key "+entry.Key, append([]byte(entry.Key+"\n"), entry.Value...))...)
		}
		return nil
	})
	if err != nil {
		s.t.Errorf("reading the store: %v", err)
	}
	bodies, err := s.Canaries.Dir(s.objects)
	if err != nil {
		s.t.Errorf("reading the objects' bodies: %v", err)
	}
	hits = append(hits, bodies...)
	for _, hit := range hits {
		s.t.Errorf("a secret leaked: %s", hit)
	}
	if s.t.Failed() && testing.Verbose() {
		s.t.Logf("the log:\n%s", last(s.logged.Bytes(), 8000))
	}
}

func last(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// Clock is the time of a System: the machine's, moved by what Advance added.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// Now is the time that the system sees.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Advance moves the clock. The SDK's clients correct their own when the gateway says that
// a signature is too old; requests signed by hand must use Now.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// buffer is a bytes.Buffer for many goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

// recorder keeps the bodies of refusals.
type recorder struct {
	http.ResponseWriter
	errors io.Writer
	failed bool
}

func (r *recorder) WriteHeader(status int) {
	r.failed = status >= 400
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.failed {
		r.errors.Write(p)
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush is what streams ask for.
func (r *recorder) Flush() {
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
