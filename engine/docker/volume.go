package docker

import (
	"context"

	"github.com/moby/moby/client"
)

// Volume is a named volume.
type Volume struct {
	Name    string
	Driver  string // empty: local
	Options map[string]string
	Labels  map[string]string
}

// CreateVolume makes a volume, or finds the one of its name.
func (c *Client) CreateVolume(ctx context.Context, v Volume) error {
	_, err := c.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: v.Name, Driver: v.Driver, DriverOpts: v.Options, Labels: v.Labels})
	return reason(err)
}

// Volume returns the volume of that name. The error is IsNotFound when there is none.
func (c *Client) Volume(ctx context.Context, name string) (Volume, error) {
	res, err := c.api.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
	if err != nil {
		return Volume{}, reason(err)
	}
	v := res.Volume
	return Volume{Name: v.Name, Driver: v.Driver, Options: v.Options, Labels: v.Labels}, nil
}

// Volumes returns the volumes that have all the labels.
func (c *Client) Volumes(ctx context.Context, labels map[string]string) ([]Volume, error) {
	res, err := c.api.VolumeList(ctx, client.VolumeListOptions{Filters: labelled(labels)})
	if err != nil {
		return nil, reason(err)
	}
	var out []Volume
	for _, v := range res.Items {
		out = append(out, Volume{Name: v.Name, Driver: v.Driver, Options: v.Options, Labels: v.Labels})
	}
	return out, nil
}

// RemoveVolume drops a volume. One that is not there is no error.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	if _, err := c.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{Force: true}); err != nil && !IsNotFound(err) {
		return reason(err)
	}
	return nil
}
