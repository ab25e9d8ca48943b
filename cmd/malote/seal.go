package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
)

type sealCommands struct {
	Rotate sealRotateCommand `cmd:"" help:"Make a new root key and wrap the keyring by it."`
}

type sealRotateCommand struct {
	DataDir    string `help:"Whose root key." env:"MALOTE_DATA_DIR" placeholder:"DIR"`
	storeFlags `embed:""`
}

func (sealRotateCommand) Help() string {
	return `No record is written again: the keyring's keys are wrapped by the new root key, and
the old one opens this store no more. Works whether malote runs or not, and may be
interrupted at any moment. Back the new file up, and keep the old one as long as there
are backups of the store from before: those open with it alone.

    malote seal rotate --data-dir /var/lib/malote`
}

func (c *sealRotateCommand) Run(ctx context.Context, p *program) error {
	dir := dataDirOr(c.DataDir)
	_, err := callControl(ctx, dir, http.MethodPost, "/seal/rotate")
	if errors.Is(err, errNotRunning) {
		err = c.offline(ctx, dir)
	}
	if err != nil {
		return fmt.Errorf("rotating the seal: %w", err)
	}
	_, err = fmt.Fprintf(p.stderr, "malote: the keyring is wrapped by a new root key, %s/%s\n", dir, rootKeyFile)
	return err
}

func (c *sealRotateCommand) offline(ctx context.Context, dir string) (err error) {
	if !exists(dir) {
		return fmt.Errorf("%s: there is no such data directory", dir)
	}
	plane, err := planeFlags{DataDir: dir, storeFlags: c.storeFlags, existing: true}.open(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Close()) }()
	return plane.rotateSeal(ctx)
}

// rotateSeal makes a new root key, wraps the keyring by it and puts it in place of the old.
func (p *plane) rotateSeal(ctx context.Context) error {
	p.sealing.Lock()
	defer p.sealing.Unlock()
	next, err := p.key.Stage()
	if err != nil {
		return err
	}
	if err := p.Keyring.RotateSeal(ctx, next); err != nil {
		return err
	}
	return next.Promote()
}
