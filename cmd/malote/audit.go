package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/malote/malote/audit"
)

const (
	auditFile    = "audit.log"
	auditKeyFile = "audit.pub"
)

type auditCommands struct {
	Tail   auditTailCommand   `cmd:"" help:"The last records, and those that come."`
	Query  auditQueryCommand  `cmd:"" help:"The records that answer a question."`
	Verify auditVerifyCommand `cmd:"" help:"Is the audit whole and as it was written?"`
	Key    auditKeyCommand    `cmd:"" help:"Print the public key that its checkpoints are verified with."`
}

// auditFlags say which log is read. It is read as a file: no server has to run.
type auditFlags struct {
	DataDir string `help:"Whose audit." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
	File    string `help:"The log itself, where it is not in a data directory: an archive's." placeholder:"FILE"`
}

// flags are those by which another command reads the same log.
func (f auditFlags) flags() string {
	if f.File != "" {
		return " --file " + shellWord(f.File)
	}
	return dataDirFlag(f.DataDir)
}

func (f auditFlags) path() string {
	return cmp.Or(f.File, filepath.Join(dataDirOr(f.DataDir), auditFile))
}

type auditOutput struct {
	Output string `help:"table, or json: the records as they are, one a line." enum:"table,json" default:"table" short:"o"`
}

type auditTailCommand struct {
	Lines       int  `help:"How many of the last records." short:"n" default:"10"`
	Follow      bool `help:"Go on with what is recorded from now on, until interrupted." short:"f"`
	auditOutput `embed:""`
	auditFlags  `embed:""`
}

func (auditTailCommand) Help() string {
	return `Reads the log as a file, whether malote runs or not.

    malote audit tail -f
    malote audit tail -n 1000 -o json | jq 'select(.errorCode)'`
}

func (c *auditTailCommand) Run(ctx context.Context, p *program) error {
	lines := func(yield func([]byte, error) bool) {
		last, err := audit.Last(c.path(), c.Lines)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, line := range last {
			if !yield(line, nil) {
				return
			}
		}
	}
	if c.Follow {
		lines = audit.Follow(ctx, c.path(), c.Lines)
	}
	return c.print(p, parsed(lines), c.Follow)
}

func parsed(lines iter.Seq2[[]byte, error]) iter.Seq2[*audit.Entry, error] {
	return func(yield func(*audit.Entry, error) bool) {
		for line, err := range lines {
			var e *audit.Entry
			if err == nil {
				e, err = audit.Parse(line)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

type auditQueryCommand struct {
	Since     string `help:"From then on: 2026-01-31, 2026-01-31T12:00:00Z, or as long ago as 90m, 12h, 7d." placeholder:"TIME"`
	Until     string `help:"Before then." placeholder:"TIME"`
	Principal string `help:"Who asked: ARN, role, user, access key, account; the end of an ARN will do, and * stands for anything." placeholder:"NAME"`
	Service   string `help:"Of which service: secretsmanager." placeholder:"NAME"`
	EventName string `help:"The operation: GetSecretValue." placeholder:"NAME"`
	Resource  string `help:"ARN of what was asked about, or its end; * stands for anything." placeholder:"ARN"`
	Error     string `help:"The error's code: AccessDenied, or * for any." placeholder:"CODE"`
	Task      string `help:"Which task asked: its id or ARN, its service or its deployment." placeholder:"NAME"`
	RequestID string `name:"request-id" help:"The request that a client was told the id of." placeholder:"ID"`

	auditOutput `embed:""`
	auditFlags  `embed:""`
}

func (auditQueryCommand) Help() string {
	return `Reads the log and the files that were put aside, oldest record first.

    malote audit query --since 7d --event-name GetSecretValue --resource 'secret:prod/db-*'
    malote audit query --since 1h --error AccessDenied
    malote audit query --task web -o json`
}

func (c *auditQueryCommand) Run(ctx context.Context, p *program) error {
	f := audit.Filter{Principal: c.Principal, Service: c.Service, Name: c.EventName, Resource: c.Resource, Error: c.Error, Task: c.Task, RequestID: c.RequestID}
	var err error
	if f.Since, err = instant("--since", c.Since, time.Now()); err != nil {
		return err
	}
	if f.Until, err = instant("--until", c.Until, time.Now()); err != nil {
		return err
	}
	found := false
	err = c.print(p, func(yield func(*audit.Entry, error) bool) {
		for e, err := range audit.Query(c.path(), f) {
			if err == nil {
				err = ctx.Err()
			}
			found = true
			if !yield(e, err) || err != nil {
				return
			}
		}
	}, false)
	if err == nil && !found {
		fmt.Fprintf(p.stderr, "malote: no record of %s matched\n", c.path())
	}
	return err
}

// instant reads a time, or how long before now it was; "" is none.
func instant(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	ago, err := duration(text)
	if err != nil {
		return time.Time{}, &usageError{fmt.Errorf("%s %q: want a time in UTC, as 2026-01-31 or 2026-01-31T12:00:00Z, or how long ago it was, as 90m, 12h or 7d", flag, text)}
	}
	return now.Add(-ago), nil
}

// duration reads what time.ParseDuration reads, and days.
func duration(text string) (time.Duration, error) {
	if days, found := strings.CutSuffix(text, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("negative")
	}
	return d, err
}

// print writes records. Of a table that goes on, the columns have fixed widths.
func (o auditOutput) print(p *program, entries iter.Seq2[*audit.Entry, error], goesOn bool) error {
	if o.Output == "json" {
		for e, err := range entries {
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(p.stdout, "%s\n", e.Line); err != nil {
				return err
			}
		}
		return nil
	}
	rows := func(w io.Writer, head, format string) error {
		for e, err := range entries {
			if err != nil {
				return err
			}
			if head != "" {
				fmt.Fprintln(w, head)
				head = ""
			}
			if _, err := fmt.Fprintf(w, format, e.Time.UTC().Format(time.RFC3339), who(e), what(e), outcome(e), about(e)); err != nil {
				return err
			}
		}
		return nil
	}
	if goesOn {
		return rows(p.stdout, "", "%-20s  %-40s  %-36s  %-8s  %s\n")
	}
	var failed error
	err := p.table(func(w io.Writer) {
		failed = rows(w, "TIME\tWHO\tWHAT\tOUTCOME\tRESOURCE", "%s\t%s\t%s\t%s\t%s\n")
	})
	return errors.Join(failed, err)
}

// who asked, with its account where that is not whose thing it asked for.
func who(e *audit.Entry) string {
	u := &e.UserIdentity
	name := cmp.Or(u.ARN, u.InvokedBy, printable(u.UserName), u.Type) // a user name without an ARN is the subject of a token
	if u.Type == "AWSAccount" {
		name = u.AccountID // ANONYMOUS_PRINCIPAL
	}
	if i := strings.LastIndexByte(name, ':'); i >= 0 && u.ARN != "" {
		name = name[i+1:]
	}
	if len(e.Resources) > 0 && u.ARN != "" && e.Resources[0].AccountID != "" && e.Resources[0].AccountID != u.AccountID {
		name += " of " + u.AccountID
	}
	if t := e.Additional.Task; t != nil && t.Service != "" {
		name += " (" + t.Service + ")"
	}
	if u.ARN != "" && u.InvokedBy != "" {
		name += " via " + u.InvokedBy
	}
	return name
}

func what(e *audit.Entry) string {
	return strings.TrimSuffix(e.Source, ".amazonaws.com") + ":" + printable(e.Name)
}

func outcome(e *audit.Entry) string { return cmp.Or(printable(e.ErrorCode), "ok") }

func about(e *audit.Entry) string {
	switch len(e.Resources) {
	case 0:
		return printable(e.ErrorText)
	case 1:
		return printable(e.Resources[0].ARN)
	}
	return fmt.Sprintf("%s and %d more", printable(e.Resources[0].ARN), len(e.Resources)-1)
}

// printable keeps what a client chose from moving a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

type auditVerifyCommand struct {
	PublicKey  string `help:"Public keys of the checkpoints, PEM, kept elsewhere. Default: the one in the data directory." placeholder:"FILE"`
	ExpectHead string `help:"A head that an earlier verify printed: it must be in the log." placeholder:"HASH"`
	Checkpoint string `help:"A copy of audit.log.checkpoint, kept elsewhere: it must be in the log." placeholder:"FILE"`
	JSON       bool   `name:"json" help:"Print JSON."`
	auditFlags `embed:""`
}

func (auditVerifyCommand) Help() string {
	return `Reads the whole log and checks each link of the chain and each signed checkpoint. It needs
no root key and no server. Whoever can write to the data directory can replace the public
key there as well: keep it elsewhere, with the last head, and give both.

    malote audit key > /safe/audit.pub
    malote audit verify --public-key /safe/audit.pub --expect-head 5f70bf18...

Exit status 1: it is not as it was written, or records are missing.`
}

func (c *auditVerifyCommand) Run(p *program) error {
	var expect audit.Expectation
	keys := cmp.Or(c.PublicKey, filepath.Join(filepath.Dir(c.path()), auditKeyFile))
	text, err := os.ReadFile(keys)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.PublicKey == "":
	case err != nil:
		return err
	default:
		if expect.Keys, err = audit.DecodePublicKeys(text); err != nil {
			return fmt.Errorf("%s: %w", keys, err)
		}
	}
	if c.ExpectHead != "" {
		if expect.Head = strings.ToLower(c.ExpectHead); len(expect.Head) != 64 || strings.Trim(expect.Head, "0123456789abcdef") != "" {
			return &usageError{fmt.Errorf("--expect-head %q: want the 64 hexadecimal digits that malote audit verify printed", c.ExpectHead)}
		}
	}
	if c.Checkpoint != "" {
		if expect.Checkpoint, err = os.ReadFile(c.Checkpoint); err != nil {
			return err
		}
	}
	chain, err := audit.VerifyWith(c.path(), expect)
	if err != nil {
		return err
	}
	if chain.Records == 0 && !exists(c.path()) {
		return fmt.Errorf("%s: there is no such log", c.path())
	}
	verified := expect.Keys != nil
	if c.JSON {
		report := map[string]any{
			"firstSequence": chain.First, "records": chain.Records, "head": chain.Head, "checkpoints": chain.Checkpoints, "signedThrough": chain.SignedTo,
			"unsigned": chain.Unsigned(), "signaturesVerified": verified, "keyId": chain.KeyID, "lastLineWhole": !chain.Torn,
		}
		if chain.SignedTo > 0 {
			report["signedAt"] = chain.SignedAt.UTC().Format(time.RFC3339)
		}
		if chain.Truncated > 0 {
			report["truncated"], report["truncatedAt"] = chain.Truncated, chain.TruncatedAt.UTC().Format(time.RFC3339)
		}
		err = p.objects(1, func(int) any { return report })
	} else {
		_, err = fmt.Fprintf(p.stdout, "records      %d to %d\nhead         %s\ncheckpoints  %d\n", chain.First, chain.Last(), chain.Head, chain.Checkpoints)
		if chain.SignedTo > 0 {
			_, err = fmt.Fprintf(p.stdout, "signed       to %d, %s, by %s\n", chain.SignedTo, chain.SignedAt.UTC().Format(time.RFC3339), chain.KeyID)
		}
		_, err = fmt.Fprintf(p.stdout, "unsigned     %d at the end\n", chain.Unsigned())
	}
	if err != nil {
		return err
	}
	if chain.First > 1 {
		fmt.Fprintf(p.stderr, "malote: records before %d are not here: their files were deleted or taken to an archive\n", chain.First)
	}
	if chain.Torn {
		fmt.Fprintln(p.stderr, "malote: the last line is not whole: it is being written, or malote was killed over it")
	}
	switch {
	case !verified:
		fmt.Fprintln(p.stderr, "malote: signatures were not verified: there is no public key\nmalote: hint: --public-key names it")
	case c.PublicKey == "":
		fmt.Fprintf(p.stderr, "malote: signatures were verified with %s, which whoever can change the log can change too\nmalote: hint: keep a copy elsewhere and name it with --public-key\n", keys)
	}
	if chain.Truncated > 0 {
		return &hintError{
			fmt.Errorf("records were cut off the audit log before %s, when malote was started on what was left", chain.TruncatedAt.UTC().Format(time.RFC3339)),
			"malote audit query --event-name AuditTruncated" + c.flags() + " says which",
		}
	}
	return nil
}

type auditKeyCommand struct {
	DataDir string `help:"Whose key." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
}

func (auditKeyCommand) Help() string {
	return `The key itself is in the store, sealed by the keyring. The public one is in the data
directory as well, from the first start on; keep a copy where malote's host cannot write.

    malote audit key > /safe/audit.pub`
}

func (c *auditKeyCommand) Run(p *program) error {
	text, err := os.ReadFile(filepath.Join(dataDirOr(c.DataDir), auditKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &hintError{fmt.Errorf("%s: there is no public key yet", dataDirOr(c.DataDir)), "malote up" + dataDirFlag(c.DataDir) + " makes it at its first start, as malote server does"}
	}
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(text)
	return err
}

// keepAuditKey puts the public key beside the log, where malote audit verify finds it. Those
// of earlier stores stay: the log has what they signed.
func keepAuditKey(dir string, key ed25519.PublicKey) error {
	text, err := audit.EncodePublicKey(key)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, auditKeyFile)
	was, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keeping the audit's public key: %w", err)
	}
	if keys, err := audit.DecodePublicKeys(was); err == nil {
		if slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return k.Equal(key) }) {
			return nil
		}
		text = slices.Concat(bytes.TrimRight(was, "\n"), []byte("\n"), text)
	}
	err = os.WriteFile(path+".next", text, 0o644)
	if err == nil {
		err = os.Rename(path+".next", path)
	}
	if err != nil {
		return fmt.Errorf("keeping the audit's public key: %w", err)
	}
	return nil
}

// auditOptions are what the flags say of the log.
func (f planeFlags) auditOptions() (o audit.Options, err error) {
	o.WhenFull, o.KeepFiles = audit.WhenFull(f.AuditWhenFull), f.AuditKeepFiles
	if f.AuditMaxSize != "" {
		if o.Size, err = byteSize(f.AuditMaxSize); err != nil || o.Size < 1<<20 {
			return o, &usageError{fmt.Errorf("--audit-max-size %q: want a size of at least 1MiB, as 64MiB or 1GiB", f.AuditMaxSize)}
		}
	}
	if f.AuditKeep != "" {
		if o.KeepFor, err = duration(f.AuditKeep); err != nil || o.KeepFor < time.Hour {
			return o, &usageError{fmt.Errorf("--audit-keep %q: want a time of at least an hour, as 90d or 720h", f.AuditKeep)}
		}
	}
	if f.AuditKeepFiles < 0 {
		return o, &usageError{fmt.Errorf("--audit-keep-files %d: want a number of files", f.AuditKeepFiles)}
	}
	return o, nil
}

// byteSize reads 1048576, 1024KiB, 1MiB.
func byteSize(text string) (int64, error) {
	unit := int64(1)
	for suffix, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if digits, found := strings.CutSuffix(text, suffix); found {
			text, unit = digits, size
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && (n < 0 || n > math.MaxInt64/unit) {
		err = strconv.ErrRange
	}
	return n * unit, err
}
