package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"

	"github.com/malote/malote/engine"
)

type agentCommand struct {
	engineFlags    `embed:""`
	DataDir        string            `help:"Where what this host is known by is kept." env:"MALOTE_DATA_DIR" default:"/var/lib/malote-agent" placeholder:"DIR"`
	Attribute      map[string]string `help:"An attribute of the container instance, for placement constraints. Repeat it for more." mapsep:"none" placeholder:"NAME=VALUE"`
	AllowPlainHTTP bool              `name:"allow-plain-http" help:"Reach another host without TLS: whoever is on the way reads every secret." env:"MALOTE_ALLOW_PLAIN_HTTP"`
	LogLevel       string            `help:"debug, info, warn or error." env:"MALOTE_LOG_LEVEL" default:"info"`
}

func (agentCommand) Help() string {
	return `The engine alone: this host runs tasks of a cluster that a malote server keeps. It finds that
by AWS's configuration chain, and registers this host as a container instance with credentials of
its own; see docs/agent.md. When it ends, containers go on, and the next one finds them.

    AWS_ENDPOINT_URL=https://malote.example.com:4510 AWS_PROFILE=host-7 malote agent --cluster shop`
}

func (c *agentCommand) Run(ctx context.Context, p *program) error {
	log, err := p.logger(c.LogLevel)
	if err != nil {
		return err
	}
	if err := checkAttributes(c.Attribute); err != nil {
		return err
	}
	cfg, err := loadConfig(ctx)
	if err != nil {
		return err
	}
	server, err := c.server(cfg)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	name, err := engineName(c.DataDir)
	if err != nil {
		return err
	}
	e, err := c.engine(engine.Config{
		Name: name, Attributes: c.Attribute, AWS: cfg, Cluster: c.Cluster, StateDir: c.DataDir, API: passOn(cfg, server, log), Log: log,
	})
	if err != nil {
		return err
	}
	return e.Run(ctx)
}

// checkAttributes refuses what the control plane would, and what the engine says of the host
// itself.
func checkAttributes(attributes map[string]string) error {
	strange := func(r rune) bool {
		return !strings.ContainsRune(`-_./\`, r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	strangeValue := func(r rune) bool { return !strings.ContainsRune("@: ", r) && strange(r) }
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		switch {
		case name == "" || len(name) > 128 || strings.ContainsFunc(name, strange):
			return &usageError{fmt.Errorf(`--attribute %q: want a name of up to 128 letters, digits, and - _ . / \`, name)}
		case strings.HasPrefix(name, "ecs."), strings.HasPrefix(name, "com.amazonaws.ecs."), strings.HasPrefix(name, "malote."):
			return &usageError{fmt.Errorf("--attribute %s: names that begin with ecs., com.amazonaws.ecs. or malote. are the engine's own", name)}
		}
		if value := attributes[name]; len(value) > 128 || strings.Trim(value, " ") != value || strings.ContainsFunc(value, strangeValue) {
			return &usageError{fmt.Errorf(`--attribute %s: want a value of up to 128 letters, digits, - _ . @ / \ : and spaces within`, name)}
		}
	}
	return nil
}

// server is where the control plane is.
func (c *agentCommand) server(cfg aws.Config) (*url.URL, error) {
	switch {
	case cfg.BaseEndpoint == nil:
		return nil, &hintError{&usageError{errors.New("which malote? No endpoint is configured")}, "set AWS_ENDPOINT_URL to that of malote server"}
	case cfg.Region == "":
		return nil, &hintError{&usageError{errors.New("no region is configured")}, "set AWS_REGION"}
	}
	u, err := url.Parse(*cfg.BaseEndpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, &usageError{fmt.Errorf("AWS_ENDPOINT_URL %q: want https://HOST:PORT", *cfg.BaseEndpoint)}
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) && !c.AllowPlainHTTP {
		return nil, &hintError{&usageError{fmt.Errorf("AWS_ENDPOINT_URL %s: secrets would cross the network without TLS", *cfg.BaseEndpoint)},
			"give malote server a certificate (AWS_CA_BUNDLE names the authority of a private one), or allow it with --allow-plain-http"}
	}
	return u, nil
}

// passOn brings containers' requests to the control plane as they are: signed by the containers,
// for the address at which they found it.
func passOn(cfg aws.Config, server *url.URL, log *slog.Logger) http.Handler {
	transport := http.DefaultTransport
	if client, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		transport = client.GetTransport() // with AWS_CA_BUNDLE
	}
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // logs are followed
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(server)
			r.Out.Host = r.In.Host // which is signed
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.WarnContext(r.Context(), "passing on a container's request", "err", err)
			http.Error(w, "malote: the control plane cannot be reached", http.StatusBadGateway)
		},
	}
}
