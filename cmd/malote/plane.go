package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/controlplane"
	"github.com/malote/malote/internal/spoken"
	"github.com/malote/malote/keyring/seal"
	"github.com/malote/malote/rotation/builtin"
	"github.com/malote/malote/rotation/functions"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/service/s3/blobs"
	"github.com/malote/malote/store"
)

// planeFlags say what a control plane in this process stands on.
type planeFlags struct {
	DataDir        string `help:"Where data is kept. Default: /var/lib/malote for root, else below the home directory." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
	storeFlags     `embed:""`
	Objects        string   `help:"Where the bodies of S3's objects are kept, sealed: a folder, or another's bucket (s3://NAME?region=…, azblob://CONTAINER, gs://NAME). Default: objects in the data directory; with --store there is none, and without one no S3." env:"MALOTE_OBJECTS" placeholder:"URL"`
	S3Domain       []string `name:"s3-domain" help:"A name of this malote's below which S3's buckets have theirs: bucket.s3.example.com." env:"MALOTE_S3_DOMAIN" placeholder:"NAME"`
	Account        string   `help:"The account of malote env and of malote up's engine. Default: the first one, which the first start makes with this id, or else 123456789012." env:"MALOTE_ACCOUNT" placeholder:"ID"`
	AuditMaxSize   string   `name:"audit-max-size" help:"Size at which a file of the audit is put aside and a new one begun: 64MiB, 1GiB." env:"MALOTE_AUDIT_MAX_SIZE" default:"256MiB" placeholder:"SIZE"`
	AuditKeep      string   `name:"audit-keep" help:"How long files of the audit that were put aside are kept: 90d, 720h. Default: for ever." env:"MALOTE_AUDIT_KEEP" placeholder:"TIME"`
	AuditKeepFiles int      `name:"audit-keep-files" help:"How many of them are kept, at most. Default: all." env:"MALOTE_AUDIT_KEEP_FILES" placeholder:"N"`
	AuditWhenFull  string   `name:"audit-when-full" help:"What is refused while the audit cannot be written: refuse-reads (of secrets), refuse-all, or nothing: continue." env:"MALOTE_AUDIT_WHEN_FULL" enum:"refuse-reads,refuse-all,continue" default:"refuse-reads"`

	Region string `help:"The region that clients on this machine are told." env:"MALOTE_REGION" default:"us-east-1"`

	// endpoint is where engines find this one of several control planes, "" where they found
	// it; local is where this machine's commands do. Both may be unknown yet.
	endpoint, local string
	// caBundle vouches for local, when that is this malote's own to do; else "".
	caBundle string
	// functions rotate secrets. Nil, as for a command that is over in a moment, means that
	// this control plane rotates none.
	functions map[string]functions.Definition
	// existing is for commands that make no account where there is none.
	existing bool
	// embedded is for commands that make one when they are first, but not beside files of another.
	embedded bool
	// engineCluster is that of an engine which this process has as well; "" for none.
	engineCluster string
}

// plane is a control plane in this process with what it stands on.
type plane struct {
	*controlplane.ControlPlane
	dir    string
	engine string // the name of this process's engine, if it has one
	flags  planeFlags
	store  store.Store // beneath the keyring
	lost   string      // what is said of a store that is new beside files of another; "" for nothing
	close  []func() error

	sealing sync.Mutex // one rotation at a time
	key     *seal.File
}

// open starts it.
func (f planeFlags) open(ctx context.Context, log *slog.Logger) (_ *plane, err error) {
	if err := keepFromDumps(); err != nil {
		return nil, err
	}
	p := &plane{dir: dataDirOr(f.DataDir), flags: f}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	found := leftIn(p.dir)
	wanted := f.existing || f.embedded && len(found) > 0 // the store is not to be made here
	if wanted && f.Store == "" && !exists(filepath.Join(p.dir, storeFile)) {
		return nil, f.noAccount(p.dir, found) // and no file that would be taken for one
	}
	backing, err := f.openStore(ctx, p.dir, log)
	if err != nil {
		return nil, err
	}
	p.store = backing
	// Closing the keyring closes the store, but the control plane may not open.
	p.close = append(p.close, backing.Close)
	switch none, err := isNew(ctx, backing); {
	case err != nil:
		return nil, err
	case none && wanted:
		return nil, f.noAccount(p.dir, found)
	case none && len(found) > 0:
		p.lost = fmt.Sprintf("%s has none of the data of before, though there is %s: this malote is a new one", f.storeName(p.dir), strings.Join(found, " and "))
		log.Warn("the store is new beside files of an older one", "store", f.storeName(p.dir), "found", strings.Join(found, ", "))
	}
	p.key = seal.NewFile(filepath.Join(p.dir, rootKeyFile))
	options, err := f.auditOptions()
	if err != nil {
		return nil, err
	}
	options.Log = log
	records, err := audit.Open(filepath.Join(p.dir, auditFile), options)
	if err != nil {
		return nil, err
	}
	p.close = append(p.close, records.Close)
	bodies, err := f.openObjects(ctx, p.dir)
	if err != nil {
		return nil, err
	}
	if bodies != nil {
		p.close = append(p.close, bodies.Close)
	} else {
		log.Info("S3 is not served: with --store it needs --objects")
	}
	var engine *controlplane.Engine
	if f.engineCluster != "" {
		if p.engine, err = engineName(p.dir); err != nil {
			return nil, err
		}
		engine = &controlplane.Engine{Region: f.Region, Cluster: f.engineCluster, Name: p.engine}
	}
	first := defaultAccount
	if f.existing {
		first = ""
	}
	p.ControlPlane, err = controlplane.Open(ctx, controlplane.Config{
		Store: backing, Seal: p.key, Audit: records, Blobs: bodies, Domains: f.S3Domain, Endpoint: f.endpoint, Local: f.local, CABundle: f.caBundle, Log: log,
		RotationFunctions: f.functions, Rotators: builtin.Named, Engine: engine,
		Bootstrap: directory.BootstrapConfig{
			Account: f.Account, Default: first,
			AdminAccessKeyID: os.Getenv("MALOTE_ADMIN_ACCESS_KEY_ID"), AdminSecretAccessKey: os.Getenv("MALOTE_ADMIN_SECRET_ACCESS_KEY"),
			RootAccessKeyID: os.Getenv("MALOTE_ROOT_ACCESS_KEY_ID"), RootSecretAccessKey: os.Getenv("MALOTE_ROOT_SECRET_ACCESS_KEY"),
		},
	})
	if unknown := (*directory.UnknownAccount)(nil); errors.As(err, &unknown) {
		err = &hintError{err, "malote account create --account-id " + unknown.ID + dataDirFlag(f.DataDir) + storeFlag(f.Store) + " makes it"}
	}
	if err != nil {
		return nil, err
	}
	p.close = append(p.close, p.ControlPlane.Close)
	if err := keepAuditKey(p.dir, p.AuditKey); err != nil {
		return nil, err
	}
	return p, nil
}

const (
	rootKeyFile = "root.key"
	storeFile   = "malote.db"

	defaultAccount = "123456789012"
)

// openObjects opens where bodies are kept. It is nil for a cluster that was told of no place:
// a folder on one machine is not where the others look.
func (f planeFlags) openObjects(ctx context.Context, dir string) (blobs.Blobs, error) {
	switch {
	case f.Objects != "":
		return blobs.Open(ctx, f.Objects)
	case f.Store != "":
		return nil, nil
	}
	return blobs.OpenFolder(filepath.Join(dir, "objects"))
}

// Close ends everything in reverse.
func (p *plane) Close() error {
	var all error
	for i := len(p.close) - 1; i >= 0; i-- {
		all = errors.Join(all, p.close[i]())
	}
	p.close = nil
	return all
}

// connection is what a shell on this machine needs to be the admin of an account, "" for the
// one of this process; endpoint may differ from what others use.
func (p *plane) connection(ctx context.Context, endpoint, account string) (*connection, error) {
	key, err := p.AdminKey(ctx, cmp.Or(account, p.Account))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("there is no account %s", account)
	}
	if err != nil {
		return nil, err
	}
	return &connection{endpoint, p.flags.Region, key.ID, key.Secret, p.flags.caBundle}, nil
}

// logger writes to stderr at the level that a flag names.
func (p *program) logger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, &usageError{fmt.Errorf("--log-level %q: want debug, info, warn or error", level)}
	}
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: l, ReplaceAttr: spokenErrors})), nil
}

// spokenErrors leaves out of errors what the SDK puts around them.
func spokenErrors(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindAny {
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(spoken.Text(err))
		}
	}
	return a
}

// serverLogger is a logger whose lines, one per request, are written many at a time. Call
// flush at the end.
func (p *program) serverLogger(level string) (log *slog.Logger, flush func(), err error) {
	lines := &lines{w: p.stderr}
	buffered := *p
	buffered.stderr = lines
	log, err = buffered.logger(level)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(&flushing{log.Handler(), lines}), lines.flush, nil
}

// noAccount is the error for a store without data, beside which files were found.
func (f planeFlags) noAccount(dir string, found []string) error {
	err := fmt.Errorf("%w: %s is empty or not there", directory.ErrNoAccount, f.storeName(dir))
	if len(found) > 0 {
		return &hintError{fmt.Errorf("%w, though there is %s", err, strings.Join(found, " and ")), f.putBack()}
	}
	return &hintError{err, "malote up" + dataDirFlag(f.DataDir) + storeFlag(f.Store) + " makes the first one"}
}

// putBack is what to do about a store that is gone.
func (f planeFlags) putBack() string {
	if f.Store != "" {
		return "if --store should have named another cluster or prefix, stop malote and name that"
	}
	return "if " + storeFile + " was moved or lost, stop malote and put it back, or its backup: see docs/operations.md"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
