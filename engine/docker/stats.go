package docker

import (
	"context"
	"io"

	"github.com/moby/moby/client"
)

// Stats returns one sample of a container's statistics, JSON as Docker writes it. It
// takes a second, since it holds the sample before it as well.
func (c *Client) Stats(ctx context.Context, id string) ([]byte, error) {
	res, err := c.api.ContainerStats(ctx, id, client.ContainerStatsOptions{IncludePreviousSample: true})
	if err != nil {
		return nil, reason(err)
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}
