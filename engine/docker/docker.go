// Package docker is what the engine asks of a container runtime, in the engine's own
// words. It is the only package that imports Docker.
//
// It promises that every object it makes carries the labels it was given, so that a
// process that knows nothing but those labels can find and remove it.
//
// It does not decide when a container starts or stops (see package engine).
package docker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Client speaks to one Docker Engine, version 20.10 (API 1.41) or later.
type Client struct {
	api *client.Client
}

// New returns a client of the Docker Engine at host, such as unix:///run/docker.sock.
// Empty means DOCKER_HOST and its companions, or else the default socket.
func New(host string) (*Client, error) {
	options := []client.Opt{client.FromEnv}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	api, err := client.New(options...)
	if err != nil {
		return nil, fmt.Errorf("making a Docker client: %w", err)
	}
	return &Client{api: api}, nil
}

// Close drops idle connections.
func (c *Client) Close() error { return c.api.Close() }

// Info is what a Docker host has.
type Info struct {
	ID, Name      string
	Version       string
	APIVersion    string
	OS, Arch      string
	CPUs          int
	Memory        int64 // bytes
	SwapLimit     bool
	LogDrivers    []string
	LoggingDriver string
	Root          string // Docker's data directory
}

// Info asks the Docker Engine what it is and what its host has.
func (c *Client) Info(ctx context.Context) (Info, error) {
	if _, err := c.api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return Info{}, fmt.Errorf("the Docker Engine does not answer: %w", err)
	}
	res, err := c.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return Info{}, fmt.Errorf("asking the Docker Engine about its host: %w", err)
	}
	i := res.Info
	return Info{
		ID: i.ID, Name: i.Name, Version: i.ServerVersion, APIVersion: c.api.ClientVersion(),
		OS: i.OSType, Arch: i.Architecture, CPUs: i.NCPU, Memory: i.MemTotal, SwapLimit: i.SwapLimit,
		LogDrivers: i.Plugins.Log, LoggingDriver: i.LoggingDriver, Root: i.DockerRootDir,
	}, nil
}

// IsNotFound reports whether err says that the object is not there.
func IsNotFound(err error) bool { return errdefs.IsNotFound(err) }

// IsConflict reports whether err says that the object is in the way of itself: a
// name taken, a container that is running or being removed.
func IsConflict(err error) bool { return errdefs.IsConflict(err) }

// IsUnavailable reports whether err says that no Docker Engine answers.
func IsUnavailable(err error) bool { return client.IsErrConnectionFailed(err) }

// reason is the daemon's own sentence, without the client's prefix.
func reason(err error) error {
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	if text == err.Error() {
		return err
	}
	return &daemonError{text, err}
}

type daemonError struct {
	text string
	err  error
}

func (e *daemonError) Error() string { return e.text }
func (e *daemonError) Unwrap() error { return e.err }

func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1971 {
		return time.Time{}
	}
	return t
}
