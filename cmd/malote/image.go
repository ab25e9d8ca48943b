package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/inject/image"
	"github.com/malote/malote/internal/lazyregexp"
)

type imageCommands struct {
	Load imageLoadCommand `cmd:"" help:"Load it into this machine's Docker."`
	Save imageSaveCommand `cmd:"" help:"Write it to stdout, as docker save does."`
}

// imageFlags are the image's names.
type imageFlags struct {
	Name string `help:"The image's name." default:"malote/inject" placeholder:"NAME"`
}

var notInTag = lazyregexp.New(`[^A-Za-z0-9_.-]`)

func (f imageFlags) refs() []string {
	return []string{f.Name + ":latest", f.Name + ":" + notInTag.ReplaceAllString(version, "-")}
}

func (f imageFlags) write(w io.Writer) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return image.Write(w, program, runtime.GOARCH, f.refs()...)
}

type imageLoadCommand struct {
	imageFlags `embed:""`
	DockerHost string `help:"Docker's address. Default: Docker's own." env:"DOCKER_HOST" placeholder:"URL"`
}

func (imageLoadCommand) Help() string {
	return `The image is this program itself and the certificates it needs to know AWS. Its entrypoint is
malote inject.

    malote image load`
}

func (c *imageLoadCommand) Run(ctx context.Context, p *program) error {
	engine, err := docker.New(c.DockerHost)
	if err != nil {
		return err
	}
	defer engine.Close()
	reader, writer := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := c.write(writer)
		writer.CloseWithError(err)
		written <- err
	}()
	err = engine.Load(ctx, reader)
	reader.Close()
	// What could not be written is why it could not be loaded.
	if wrong := <-written; wrong != nil && !errors.Is(wrong, io.ErrClosedPipe) {
		err = wrong
	}
	if err != nil {
		return err
	}
	for _, ref := range c.refs() {
		fmt.Fprintln(p.stdout, ref)
	}
	return nil
}

type imageSaveCommand struct {
	imageFlags `embed:""`
}

func (imageSaveCommand) Help() string {
	return `    malote image save | docker load`
}

func (c *imageSaveCommand) Run(p *program) error {
	if isTerminal(p.stdout) {
		return &hintError{&usageError{errors.New("an image is nothing for a terminal")}, "send it to a file or a pipe"}
	}
	return c.write(p.stdout)
}
