package docker

import (
	"context"
	"io"
	"path"

	"github.com/moby/moby/client"
)

// Directory returns what a container, running or not, has at a directory: a tar in which "."
// is the directory itself. Symbolic links on the way are followed within the container. The
// error is IsNotFound when the container or the directory is not there.
func (c *Client) Directory(ctx context.Context, id, dir string) (io.ReadCloser, error) {
	res, err := c.api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: path.Clean("/"+dir) + "/."})
	if err != nil {
		return nil, reason(err)
	}
	return res.Content, nil
}
