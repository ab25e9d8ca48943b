// Package controlplane puts the control plane together: store, keyring, directory, services
// and gateway, so that the program and the tests start the same thing.
//
// It holds no rules of its own. It opens no port (see cmd/malote) and no store but the
// one it is given.
package controlplane

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/controlplane/authority"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/keyring"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/rotation"
	"github.com/malote/malote/rotation/functions"
	"github.com/malote/malote/service/cloudtrail"
	"github.com/malote/malote/service/ecs"
	"github.com/malote/malote/service/iam"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/service/kms"
	"github.com/malote/malote/service/logs"
	"github.com/malote/malote/service/organizations"
	"github.com/malote/malote/service/s3"
	"github.com/malote/malote/service/secretsmanager"
	"github.com/malote/malote/service/ssm"
	"github.com/malote/malote/service/sts"
	"github.com/malote/malote/store"
)

// Config says what a control plane stands on.
type Config struct {
	Store     store.Store // beneath the keyring; the caller closes it after Close
	Seal      seal.Seal   // wraps the keyring's keys
	Audit     audit.Log   // the caller closes it after Close
	Bootstrap directory.BootstrapConfig
	Blobs     s3.Blobs // the bodies of objects; the caller closes it after Close. Nil: S3 is not served

	// Domains are names of this control plane below which buckets have theirs.
	Domains []string

	// RotationFunctions rotate secrets. Nil means that this control plane rotates none.
	RotationFunctions map[string]functions.Definition
	// Rotators makes those that a definition calls builtin, from a name and options.
	Rotators func(name string, options map[string]string) (rotation.Function, error)
	Engine   *Engine // where definitions' images run; nil: nowhere

	Endpoint string           // where engines find this one of several control planes; "" where they found it
	Local    string           // where functions that are commands find it, on its own machine
	CABundle string           // file with who vouches for Local, for functions that are commands; "" when any system knows
	Now      func() time.Time // nil: time.Now
	Log      *slog.Logger     // nil: nothing is logged
}

// ControlPlane is a running one.
type ControlPlane struct {
	Handler   http.Handler
	Metrics   http.Handler // GET /metrics, for whoever can reach it
	Services  []gateway.Service
	Directory *directory.Directory
	Keyring   *keyring.Keyring
	AuditKey  ed25519.PublicKey // of the signatures in the audit
	// Account is the one that was started for: Bootstrap's, or else the first.
	Account string
	// Made is what the first start made and nobody knew before.
	Made *directory.Bootstrapped

	audit     audit.Log
	now       func() time.Time
	endUpkeep func() // and wait for it
}

// Open starts a control plane. Close it when done.
func Open(ctx context.Context, c Config) (*ControlPlane, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	ring, err := keyring.Open(ctx, c.Store, c.Seal)
	if err != nil {
		return nil, fmt.Errorf("opening the keyring: %w", err)
	}
	people := directory.New(directory.Config{Store: ring, Now: c.Now, Log: c.Log})
	made, err := people.Bootstrap(ctx, c.Bootstrap)
	if err == nil && c.Bootstrap.Account == "" {
		c.Bootstrap.Account, err = people.FirstAccount(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the account: %w", err), people.Close())
	}
	authorizer := authz.New(authz.Config{Policies: people, Audit: c.Audit, Now: c.Now})

	key, err := auditKey(ctx, ring)
	if err != nil {
		return nil, errors.Join(err, people.Close())
	}
	if file, ok := c.Audit.(*audit.File); ok {
		file.Sign(key)
	}

	keys := kms.New(kms.Config{Store: ring, Authz: authorizer, Principals: people, Now: c.Now, Log: c.Log})
	sealing := auditedKeys{keys}
	output := logs.New(logs.Config{Store: ring, Authz: authorizer, Keys: sealing, Now: c.Now, Log: c.Log})
	tokens := sts.New(sts.Config{Directory: people, Authz: authorizer, Audit: c.Audit, Now: c.Now, Log: c.Log})
	plane := &ControlPlane{Directory: people, Keyring: ring, Account: c.Bootstrap.Account, Made: made, audit: c.Audit, AuditKey: key.Public().(ed25519.PublicKey), now: c.Now}
	rotators, err := plane.rotators(c, tokens)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rotation functions: %w", err), people.Close())
	}
	holders := new(holders)
	secrets := secretsmanager.New(secretsmanager.Config{
		Store: ring, Authz: authorizer, Keys: sealing, Principals: people, Functions: rotators, Tasks: holders, Audit: c.Audit, Now: c.Now, Log: c.Log,
	})
	parameters := ssm.New(ssm.Config{Store: ring, Authz: authorizer, Keys: sealing, Secrets: secrets, Principals: people, Audit: c.Audit, Now: c.Now, Log: c.Log})
	tasks := ecs.New(ecs.Config{Store: ring, Authz: authorizer, Roles: tokens, Keys: keys, Versions: versions{secrets, parameters, people, c.Now}, Endpoint: c.Endpoint, Now: c.Now, Log: c.Log})
	holders.tasks = tasks

	services := []gateway.Service{
		{Name: "secretsmanager", Impl: secrets},
		{Name: "ssm", Impl: parameters},
		{Name: "kms", Impl: keys},
		{Name: "iam", Impl: iam.New(iam.Config{Directory: people, Authz: authorizer, Now: c.Now})},
		{Name: "sts", Impl: tokens, Anonymous: []string{"AssumeRoleWithWebIdentity"}},
		{Name: "ecs", Impl: tasks},
		{Name: "logs", Impl: output, MaxBody: logs.MaxBody},
		{Name: "organizations", Impl: organizations.New(organizations.Config{Directory: people, Authz: authorizer, Now: c.Now})},
	}
	upkeeps := map[string]func(context.Context) error{
		"kms":            func(ctx context.Context) error { return kms.Maintain(ctx, keys) },
		"secretsmanager": func(ctx context.Context) error { return secretsmanager.Maintain(ctx, secrets) },
		"ssm":            func(ctx context.Context) error { return ssm.Maintain(ctx, parameters) },
		"logs":           func(ctx context.Context) error { return logs.Maintain(ctx, output) },
	}
	if trail, ok := c.Audit.(cloudtrail.Trail); ok {
		services = append(services, gateway.Service{Name: "cloudtrail", Impl: cloudtrail.New(cloudtrail.Config{Trail: trail, Authz: authorizer, Now: c.Now})})
	}
	if c.Blobs != nil {
		objects := s3.New(s3.Config{Store: ring, Blobs: c.Blobs, Authz: authorizer, Keys: sealing, Principals: people, Now: c.Now, Log: c.Log})
		services = append(services, gateway.Service{Name: "s3", Impl: objects, MaxBody: s3.MaxBody, Anonymous: s3.Anonymous})
		upkeeps["s3"] = func(ctx context.Context) error { return s3.Maintain(ctx, objects) }
	}
	counts := new(gateway.Counts)
	plane.Services, plane.Metrics = services, metrics(tasks, counts, c.Audit, c.Log)
	var requests gateway.Audit
	if c.Audit != nil {
		requests = audit.NewRequests(c.Audit, c.Now)
	}
	plane.Handler, err = gateway.New(gateway.Config{
		Audit:       requests,
		Counts:      counts,
		Services:    services,
		Credentials: people,
		Domains:     append([]string{"localhost"}, c.Domains...),
		Handlers:    map[string]http.Handler{"/acs": ecs.Stream(tasks), "/rotations": secretsmanager.Rotations(secrets), "/holdings": ecs.Holdings(tasks)},
		Unsigned:    map[string]http.Handler{"/v1/data-channel": ecs.DataChannels(tasks)},
		Ready:       (&readiness{store: c.Store, audit: c.Audit, log: c.Log}).why,
		Explain:     func(ctx context.Context, err error) string { return sts.Explain(ctx, tokens, err) },
		Now:         c.Now,
		Log:         c.Log,
	})
	if err != nil {
		return nil, errors.Join(err, people.Close())
	}
	upkeep, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	background.Go(func() { ecs.Schedule(upkeep, tasks) })
	background.Go(func() { ecs.FollowSecrets(upkeep, tasks) })
	background.Go(func() { maintain(upkeep, c.Log, upkeeps) })
	if c.RotationFunctions != nil {
		background.Go(func() {
			if err := rotators.Begin(upkeep); err != nil {
				c.Log.Error("rotation functions' containers", "err", err) // the first rotation tries again
			}
			secretsmanager.RunRotations(upkeep, secrets)
		})
	}
	plane.endUpkeep = func() { stop(); background.Wait(); rotators.Close() }
	return plane, nil
}

// maintain does every minute, and once more at the end, what time has made due.
func maintain(ctx context.Context, log *slog.Logger, jobs map[string]func(context.Context) error) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for ended := false; !ended; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			ended = true
		}
		work, cancel := context.WithoutCancel(ctx), func() {}
		if ended { // whoever stops a server kills it after ten seconds
			work, cancel = context.WithTimeout(work, 5*time.Second)
		}
		for service, job := range jobs {
			if err := job(work); err != nil {
				log.Error("upkeep failed", "service", service, "err", err)
			}
		}
		cancel()
	}
}

// Authority is the private certificate authority of this control plane and of all others
// on its store.
func (c *ControlPlane) Authority(ctx context.Context) (*authority.Authority, error) {
	return authority.Open(ctx, c.Keyring, c.now)
}

// Close ends what runs in the background. The store and the audit stay open.
func (c *ControlPlane) Close() error {
	c.endUpkeep()
	return c.Directory.Close()
}
