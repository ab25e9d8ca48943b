package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

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

// rotationHistory asks a control plane. AWS has no such call; its answer says that it is no
// malote.
func rotationHistory(ctx context.Context, cfg aws.Config, name string) (*rotation.History, []byte, error) {
	if cfg.BaseEndpoint == nil {
		return nil, nil, &hintError{errors.New("AWS keeps no history of rotations"), "set AWS_ENDPOINT_URL to a malote"}
	}
	address := strings.TrimSuffix(*cfg.BaseEndpoint, "/") + "/rotations?SecretId=" + url.QueryEscape(name)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, err
	}
	if cfg.Credentials == nil {
		return nil, nil, errors.New("no credentials are configured")
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, nil, err
	}
	empty := sha256.Sum256(nil)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, request, hex.EncodeToString(empty[:]), "secretsmanager", cfg.Region, time.Now()); err != nil {
		return nil, nil, err
	}
	var client aws.HTTPClient = http.DefaultClient
	if cfg.HTTPClient != nil {
		client = cfg.HTTPClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return nil, nil, err
	}
	if response.StatusCode != http.StatusOK {
		var failure struct {
			Code    string `json:"__type"`
			Message string
		}
		if json.Unmarshal(body, &failure) != nil || failure.Code == "" {
			return nil, nil, fmt.Errorf("%s answered %s: it is no malote that knows rotations", *cfg.BaseEndpoint, response.Status)
		}
		return nil, nil, fmt.Errorf("%s: %s", failure.Code, failure.Message)
	}
	h := new(rotation.History)
	return h, body, json.Unmarshal(body, h)
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
