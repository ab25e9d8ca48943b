package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"

	"github.com/malote/malote/controlplane/authority"
	"github.com/malote/malote/engine"
	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/rotation/functions"
)

// serveFlags are those of commands that listen.
type serveFlags struct {
	planeFlags            `embed:""`
	Listen                string   `help:"Address to listen on." env:"MALOTE_LISTEN" default:"127.0.0.1:4510"`
	TLS                   bool     `name:"tls" help:"Serve TLS with a certificate of malote's own authority, which clients have to be told of: see malote ca." env:"MALOTE_TLS"`
	TLSName               []string `name:"tls-name" help:"A name or address for the certificate of --tls; repeat it for more. Default: this host's name. Loopback is always there." env:"MALOTE_TLS_NAME" placeholder:"NAME"`
	TLSCert               string   `name:"tls-cert" help:"Certificate chain, PEM. Read again when it changes." env:"MALOTE_TLS_CERT" placeholder:"FILE"`
	TLSKey                string   `name:"tls-key" help:"Its key, PEM." env:"MALOTE_TLS_KEY" placeholder:"FILE"`
	RotationFunctions     string   `help:"JSON file of the functions that rotate secrets, by the ARN of a Lambda function; see docs/rotation.md." env:"MALOTE_ROTATION_FUNCTIONS" placeholder:"FILE"`
	AllowFrom             []string `help:"Addresses that clients may have; repeat it for more. Who has another is hung up on. Default: any." env:"MALOTE_ALLOW_FROM" placeholder:"CIDR"`
	TrustedProxy          []string `help:"Addresses of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed." env:"MALOTE_TRUSTED_PROXY" placeholder:"CIDR"`
	ConnectionsPerAddress int      `help:"How many connections one address may have at a time; 0 for any number." env:"MALOTE_CONNECTIONS_PER_ADDRESS" default:"0"`
	AllowPlainHTTP        bool     `name:"allow-plain-http" help:"Serve other hosts without TLS: whoever is on the way reads every secret." env:"MALOTE_ALLOW_PLAIN_HTTP"`
	MetricsListen         string   `help:"Address of GET /metrics, for Prometheus: whoever reaches it may ask. Default: none." env:"MALOTE_METRICS_LISTEN" placeholder:"ADDRESS"`
	LogLevel              string   `help:"debug, info, warn or error." env:"MALOTE_LOG_LEVEL" default:"info"`

	certificate *authority.Server // of TLS; there before anything is served
}

type serverCommand struct {
	serveFlags `embed:""`
}

func (serverCommand) Help() string {
	return `The first start makes an account and a user admin in it, and prints admin's access
key once; MALOTE_ADMIN_ACCESS_KEY_ID and MALOTE_ADMIN_SECRET_ACCESS_KEY choose it.
MALOTE_ROOT_ACCESS_KEY_ID and MALOTE_ROOT_SECRET_ACCESS_KEY give root one instead.

    malote server --listen 0.0.0.0:4510 --tls-cert cert.pem --tls-key key.pem
    malote server --listen 0.0.0.0:4510 --tls --tls-name malote.example.com`
}

func (c *serverCommand) Run(ctx context.Context, p *program) error {
	return c.serve(ctx, p, nil)
}

type upCommand struct {
	serveFlags  `embed:""`
	engineFlags `embed:""`
}

func (upCommand) Help() string {
	return serverCommand{}.Help() + `

malote up runs an engine as well, on this machine's Docker:

    malote up &
    eval "$(malote env)"
    aws ecs run-task --task-definition shop`
}

func (c *upCommand) Run(ctx context.Context, p *program) error {
	c.engineCluster = c.Cluster
	return c.serve(ctx, p, func(ctx context.Context, plane *plane, log *slog.Logger) error {
		e, err := c.engine(engine.Config{
			Name:       plane.engine,
			Attributes: map[string]string{functions.EngineAttribute: plane.engine},
			AWS: aws.Config{
				Region: c.Region, BaseEndpoint: aws.String("https://malote"),
				Credentials: plane.Instance(plane.Account, "up"),
				HTTPClient:  httpClient(gateway.Transport(plane.Handler)),
			},
			Cluster:  c.Cluster,
			StateDir: plane.dir,
			API:      plane.Handler,
			Log:      log,
		})
		if err != nil {
			return err
		}
		return e.Run(ctx)
	})
}

// engineName is what the containers of the malote on a data directory are labelled with: made up
// once and kept there, so that a second malote of the host does not take the first one's
// containers for its own.
func engineName(dir string) (string, error) {
	path := filepath.Join(dir, "engine-name")
	name, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		name = []byte("malote-" + strings.ToLower(rand.Text()[:8]))
		err = os.WriteFile(path, name, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("the engine's name: %w", err)
	}
	if len(name) == 0 { // a crash came between
		if err := os.Remove(path); err != nil {
			return "", err
		}
		return engineName(dir)
	}
	return string(name), nil
}

// gcPercent is high, since what lives is little (some twenty MiB, with caches) and what requests
// throw away is much: collecting a quarter as often spares a tenth of the processor.
func (f *serveFlags) gcPercent() int { return 400 }

// serve runs the control plane, and beside it whatever else, until ctx ends.
func (f *serveFlags) serve(ctx context.Context, p *program, beside func(context.Context, *plane, *slog.Logger) error) (err error) {
	log, flush, err := p.serverLogger(f.LogLevel)
	if err != nil {
		return err
	}
	defer flush()
	if err := checkDataDir(dataDirOr(f.DataDir)); err != nil {
		return err
	}
	server, err := f.listen(ctx, f.Listen, log)
	if err != nil {
		return err
	}
	defer server.Close()
	var scraped *gateway.Server
	if f.MetricsListen != "" {
		if scraped, err = f.listen(ctx, f.MetricsListen, log); err != nil {
			return err
		}
		defer scraped.Close()
	}
	if f.functions, err = rotationFunctions(f.RotationFunctions); err != nil {
		return err
	}
	var public string
	if public, f.local = f.urls(server); f.Store != "" {
		f.endpoint = public // of one alone engines know more: the way by which they came, through whatever proxies
	}
	if f.TLS {
		if f.caBundle, err = filepath.Abs(filepath.Join(dataDirOr(f.DataDir), caFile)); err != nil {
			return err
		}
	}
	plane, err := f.open(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Close()) }()
	replaceAuthority := func(context.Context) error { return errNoAuthority }
	if f.TLS {
		if replaceAuthority, err = f.certify(ctx, plane, log); err != nil {
			return err
		}
	}

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wait, err := serveControl(ctx, plane.dir, log, control{
		connect: func(ctx context.Context, account string) (*connection, error) {
			return plane.connection(ctx, f.local, account)
		},
		rotateSeal:    plane.rotateSeal,
		replaceCA:     replaceAuthority,
		createAccount: plane.createAccount,
		accounts:      plane.accounts,
		copyStore:     func(w io.Writer) error { return copyStore(plane.store, w) },
	})
	if err != nil {
		return err
	}
	defer wait()
	defer stop()
	if plane.lost != "" {
		fmt.Fprintf(p.stderr, "malote: warning: %s\nmalote: hint: %s\n", plane.lost, f.putBack())
	}
	if plane.Made != nil && plane.Made.AccessKeyID != "" {
		// To stdout, where it is no part of a log that a service manager keeps.
		fmt.Fprintf(p.stdout, "AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n", plane.Made.AccessKeyID, plane.Made.SecretAccessKey)
		fmt.Fprintf(p.stderr, "malote: account %s is new; the access key of its user admin is on stdout and is not shown again\n", plane.Account)
	}
	fmt.Fprintf(p.stderr, "malote: listening on %s\n", cmp.Or(public, server.URL()))
	if f.TLS {
		fmt.Fprintf(p.stderr, "malote: hint: clients trust it with AWS_CA_BUNDLE=%s (what is no SDK of AWS's: SSL_CERT_FILE); malote ca%s prints that file\n", f.caBundle, dataDirFlag(f.DataDir))
	}
	fmt.Fprintf(p.stderr, "malote: hint: eval \"$(malote env%s)\"\n", dataDirFlag(f.DataDir))

	defer time.AfterFunc(settle, giveBack).Stop()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(ctx, plane.Handler) })
	if scraped != nil {
		group.Go(func() error { return scraped.Serve(ctx, plane.Metrics) })
	}
	if beside != nil {
		group.Go(func() error { return beside(ctx, plane, log) })
	}
	return group.Wait()
}

// listen opens an address as the flags say.
func (f *serveFlags) listen(ctx context.Context, address string, log *slog.Logger) (*gateway.Server, error) {
	cfg := gateway.ListenConfig{Addr: address, CertFile: f.TLSCert, KeyFile: f.TLSKey, AllowPlain: f.AllowPlainHTTP, MaxPerAddress: f.ConnectionsPerAddress, Log: log}
	var err error
	if cfg.AllowFrom, err = prefixes("--allow-from", f.AllowFrom); err != nil {
		return nil, err
	}
	if cfg.TrustedProxies, err = prefixes("--trusted-proxy", f.TrustedProxy); err != nil {
		return nil, err
	}
	switch {
	case f.ConnectionsPerAddress < 0:
		return nil, &usageError{fmt.Errorf("--connections-per-address %d: want 0 or more", f.ConnectionsPerAddress)}
	case f.TLS && f.TLSCert+f.TLSKey != "":
		return nil, &usageError{errors.New("--tls makes a certificate, --tls-cert gives one: want one of them")}
	case f.TLS:
		for _, name := range f.TLSName {
			if err := authority.CheckName(name); err != nil {
				return nil, &usageError{fmt.Errorf("--tls-name: %w", err)}
			}
		}
		cfg.Certificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return f.certificate.GetCertificate(hello) }
	case len(f.TLSName) > 0:
		return nil, &usageError{errors.New("--tls-name is for the certificate of --tls")}
	}
	server, err := gateway.Listen(ctx, cfg)
	if errors.Is(err, gateway.ErrPlain) {
		return nil, &hintError{err, "--tls makes a certificate, --tls-cert and --tls-key give one, --allow-plain-http allows it"}
	}
	return server, err
}

// engineFlags are those of commands that run tasks.
type engineFlags struct {
	Cluster      string `help:"ECS cluster that this host belongs to." env:"MALOTE_CLUSTER" default:"default"`
	DockerHost   string `help:"Docker's address. Default: Docker's own." env:"DOCKER_HOST" placeholder:"URL"`
	RuntimeDir   string `help:"Sockets and volumes of running tasks. Empty after a boot is fine." env:"MALOTE_RUNTIME_DIR" default:"/run/malote"`
	Init         string `help:"malote-init. Default: beside malote." env:"MALOTE_INIT" placeholder:"FILE"`
	PullBehavior string `help:"When images are pulled: default, always, once or prefer-cached, as ECS_IMAGE_PULL_BEHAVIOR." env:"ECS_IMAGE_PULL_BEHAVIOR" default:"prefer-cached"`
}

// engine makes one; the rest of c is the caller's.
func (f *engineFlags) engine(c engine.Config) (*engine.Engine, error) {
	if err := keepFromDumps(); err != nil { // values of secrets pass through
		return nil, err
	}
	client, err := docker.New(f.DockerHost)
	if err != nil {
		return nil, err
	}
	c.Docker = client
	if c.InitPath = f.Init; c.InitPath == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		c.InitPath = filepath.Join(filepath.Dir(self), "malote-init")
	}
	if _, err := os.Stat(c.InitPath); err != nil {
		return nil, &hintError{fmt.Errorf("malote-init, the first process of containers: %w", err), "put it beside malote, or name it with --init"}
	}
	if c.Dir == "" {
		c.Dir = f.RuntimeDir
	}
	c.PullBehavior = engine.PullBehavior(f.PullBehavior)
	return engine.New(c)
}

// httpClient has no timeout: streams stay open, and the SDK bounds single calls by context.
func httpClient(transport http.RoundTripper) *http.Client { return &http.Client{Transport: transport} }
