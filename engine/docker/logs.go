package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/client"
)

// Logs calls fn with each line that the container wrote at or after since and goes on
// until it exits or ctx ends. A line is without its end; one longer than 1 MiB comes in
// pieces. The log driver must be one that Docker can read back.
func (c *Client) Logs(ctx context.Context, id string, tty bool, since time.Time, fn func(stream string, line []byte)) error {
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true}
	if !since.IsZero() {
		options.Since = fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())
	}
	r, err := c.api.ContainerLogs(ctx, id, options)
	if err != nil {
		return reason(err)
	}
	defer r.Close()
	lines := map[string]*splitter{"stdout": {stream: "stdout", fn: fn}, "stderr": {stream: "stderr", fn: fn}}
	defer func() {
		for _, s := range lines {
			s.flush()
		}
	}()
	in := bufio.NewReaderSize(r, 64<<10)
	if tty {
		_, err := io.Copy(lines["stdout"], in)
		return err
	}
	// Docker's multiplexed stream: one byte of which stream, three of nothing, the
	// length big-endian, the bytes.
	var header [8]byte
	for {
		if _, err := io.ReadFull(in, header[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		out := lines["stdout"]
		if header[0] == 2 {
			out = lines["stderr"]
		}
		if _, err := io.CopyN(out, in, int64(binary.BigEndian.Uint32(header[4:]))); err != nil {
			return err
		}
	}
}

const longestLine = 1 << 20

// A splitter makes lines of what is written to it.
type splitter struct {
	stream string
	fn     func(string, []byte)
	rest   []byte
}

func (s *splitter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' {
			s.fn(s.stream, s.rest)
			s.rest = s.rest[:0]
			continue
		}
		if s.rest = append(s.rest, b); len(s.rest) == longestLine {
			s.flush()
		}
	}
	return len(p), nil
}

func (s *splitter) flush() {
	if len(s.rest) > 0 {
		s.fn(s.stream, s.rest)
		s.rest = s.rest[:0]
	}
}
