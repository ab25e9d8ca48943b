package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
)

// Image is what Docker knows of an image.
type Image struct {
	ID          string
	Digest      string // of its manifest, when it came from a registry
	Entrypoint  []string
	Cmd         []string
	Env         []string
	User        string
	WorkingDir  string
	Volumes     []string
	HealthCheck *HealthCheck
}

// Image inspects a local image. The error is IsNotFound when there is none.
func (c *Client) Image(ctx context.Context, ref string) (*Image, error) {
	res, err := c.api.ImageInspect(ctx, ref)
	if err != nil {
		return nil, reason(err)
	}
	image := &Image{ID: res.ID}
	for _, d := range res.RepoDigests {
		if _, digest, ok := strings.Cut(d, "@"); ok {
			image.Digest = digest
			break
		}
	}
	if cfg := res.Config; cfg != nil {
		image.Entrypoint, image.Cmd, image.Env = cfg.Entrypoint, cfg.Cmd, cfg.Env
		image.User, image.WorkingDir = cfg.User, cfg.WorkingDir
		for path := range cfg.Volumes {
			image.Volumes = append(image.Volumes, path)
		}
		if h := cfg.Healthcheck; h != nil && len(h.Test) > 0 {
			image.HealthCheck = &HealthCheck{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries}
		}
	}
	return image, nil
}

// Auth is who to be at a registry.
type Auth struct{ Username, Password string }

// Pull fetches an image from its registry. A registry on localhost may speak plain HTTP.
func (c *Client) Pull(ctx context.Context, ref string, auth *Auth) error {
	options := client.ImagePullOptions{}
	if auth != nil {
		b, err := json.Marshal(registry.AuthConfig{Username: auth.Username, Password: auth.Password})
		if err != nil {
			return err
		}
		options.RegistryAuth = base64.URLEncoding.EncodeToString(b)
	}
	res, err := c.api.ImagePull(ctx, ref, options)
	if err != nil {
		return reason(err)
	}
	defer res.Close()
	return reason(res.Wait(ctx))
}

// Load adds the images of a tar made by docker save.
func (c *Client) Load(ctx context.Context, tar io.Reader) error {
	res, err := c.api.ImageLoad(ctx, tar, client.ImageLoadWithQuiet(true))
	if err != nil {
		return reason(err)
	}
	defer res.Close()
	for decoder := json.NewDecoder(res); ; {
		var line struct{ Error string }
		if err := decoder.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading what loading an image said: %w", err)
		}
		if line.Error != "" {
			return fmt.Errorf("loading an image: %s", line.Error)
		}
	}
}

// RemoveImage drops a local image. One that is not there is no error.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	if _, err := c.api.ImageRemove(ctx, ref, client.ImageRemoveOptions{Force: true}); err != nil && !IsNotFound(err) {
		return reason(err)
	}
	return nil
}
