package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/rotation"
)

// rotationCommand is malote secret rotation NAME.
type rotationCommand struct {
	connectFlags `embed:""`
	Name         string `arg:"" help:"Name or ARN of the secret."`
	JSON         bool   `name:"json" help:"Print all of it, as JSON."`
}

func (rotationCommand) Help() string {
	return `What became of the rotations of a secret, step by step, and why a step failed. Who may
DescribeSecret may ask.

    malote secret rotation db/password`
}

func (c *rotationCommand) Run(ctx context.Context, p *program) error {
	cfg, done, err := c.connect(ctx, p)
	if err != nil {
		return err
	}
	defer done()
	h, raw, err := rotationHistory(ctx, cfg, c.Name)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err := p.stdout.Write(raw)
		return err
	}
	return printRotation(p.stdout, h)
}

func rotationHistory(ctx context.Context, cfg aws.Config, name string) (*rotation.History, []byte, error) {
	h := new(rotation.History)
	raw, err := ask(ctx, cfg, "secretsmanager", "/rotations?SecretId="+url.QueryEscape(name), h)
	return h, raw, err
}

func printRotation(w io.Writer, h *rotation.History) error {
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	switch {
	case h.Function == "":
		fmt.Fprintf(table, "%s is not configured for rotation\n", h.Name)
	case !h.Enabled:
		fmt.Fprintf(table, "%s is not rotated any more (%s)\n", h.Name, h.Function)
	case h.Next.IsZero():
		fmt.Fprintf(table, "%s is rotated on demand by %s\n", h.Name, h.Function)
	default:
		fmt.Fprintf(table, "%s is rotated by %s, next by %s\n", h.Name, h.Function, stamp(h.Next))
	}
	for _, r := range h.Runs {
		fmt.Fprintf(table, "\n%s\t%s\t%s\t%s\t%s\n", stamp(r.Started), r.Kind, r.Outcome, r.VersionID, r.Reason)
		if !r.Again.IsZero() {
			fmt.Fprintf(table, "  again at %s\n", stamp(r.Again))
		}
		for _, st := range r.Steps {
			fmt.Fprintf(table, "  %s\t%s\t%s\tattempt %d\t%s\n", stamp(st.Started), st.Step, st.Outcome, st.Attempt, st.Reason)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) { // without what pads an empty last column
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
