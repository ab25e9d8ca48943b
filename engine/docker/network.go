package docker

import (
	"context"
	"net/netip"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Network is a bridge network to make.
type Network struct {
	Name     string
	Bridge   string // of the host's interface; empty: Docker chooses
	Subnet   netip.Prefix
	Gateway  netip.Addr
	Internal bool // no way out
	ICC      bool // whether containers on it reach each other
	Labels   map[string]string
}

// EnsureNetwork makes the network unless one of its name exists. It returns its id.
func (c *Client) EnsureNetwork(ctx context.Context, n Network) (string, error) {
	find := func() (string, error) {
		res, err := c.api.NetworkInspect(ctx, n.Name, client.NetworkInspectOptions{})
		return res.Network.ID, err
	}
	if id, err := find(); err == nil {
		return id, nil
	} else if !IsNotFound(err) {
		return "", reason(err)
	}
	icc := "false"
	if n.ICC {
		icc = "true"
	}
	options := client.NetworkCreateOptions{
		Driver: "bridge", Internal: n.Internal, Labels: n.Labels,
		Options: map[string]string{"com.docker.network.bridge.enable_icc": icc},
	}
	if n.Bridge != "" {
		options.Options["com.docker.network.bridge.name"] = n.Bridge
	}
	if n.Subnet.IsValid() {
		options.IPAM = &network.IPAM{Config: []network.IPAMConfig{{Subnet: n.Subnet, Gateway: n.Gateway}}}
	}
	res, err := c.api.NetworkCreate(ctx, n.Name, options)
	if err != nil {
		if id, again := find(); again == nil { // somebody else made it meanwhile
			return id, nil
		}
		return "", reason(err)
	}
	return res.ID, nil
}

// Connect puts a container on a network besides those it is on.
func (c *Client) Connect(ctx context.Context, network, container string) error {
	_, err := c.api.NetworkConnect(ctx, network, client.NetworkConnectOptions{Container: container})
	return reason(err)
}

// RemoveNetwork drops a network that no container is on. One that is not there is no error.
func (c *Client) RemoveNetwork(ctx context.Context, name string) error {
	if _, err := c.api.NetworkRemove(ctx, name, client.NetworkRemoveOptions{}); err != nil && !IsNotFound(err) {
		return reason(err)
	}
	return nil
}
