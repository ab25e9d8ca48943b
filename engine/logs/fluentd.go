package logs

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// fluentd ships by the forward protocol, with the records that Docker's own driver
// would make. Unlike Docker's it asks for acknowledgement unless told not to
// (fluentd-request-ack=false): without one, what was on its way to an end that goes away is lost.
//
// https://docs.docker.com/engine/logging/drivers/fluentd/
type fluentd struct {
	network, address string
	tls              bool
	precise, acks    bool
	lazy             bool // do not mind at the start that it is away
	conn             net.Conn
	from             decoder
	dial             func(ctx context.Context) (net.Conn, error) // nil: by network and address
}

const fluentdTimeout = 30 * time.Second

func newFluentd(o *options, s *Stream) (*fluentd, error) {
	f := &fluentd{
		precise: o.bool("fluentd-sub-second-precision", false),
		acks:    o.bool("fluentd-request-ack", true),
		lazy:    o.bool("fluentd-async", false),
	}
	if o.bool("fluentd-async-connect", false) {
		f.lazy = true
	}
	s.retry.first = max(o.duration("fluentd-retry-wait", firstRetry), 10*time.Millisecond)
	s.retry.most = o.int("fluentd-max-retries", 0, 0, 1<<32-1)
	s.retry.lines = o.int("fluentd-buffer-limit", 0, 0, 1<<31-1)
	address := o.text("fluentd-address", "127.0.0.1:24224")
	if err := o.finish(); err != nil {
		return nil, err
	}
	return f, f.parse(address)
}

// parse reads [tcp://|tls://]host[:port] or unix:///path. The address may be a
// secret, so an error does not repeat it.
func (f *fluentd) parse(address string) error {
	if !strings.Contains(address, "://") {
		address = "tcp://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("log driver fluentd: fluentd-address is not an address")
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return errors.New("log driver fluentd: fluentd-address is to be unix:///path")
		}
		f.network, f.address = "unix", u.Path
		return nil
	case "tcp", "tls":
		f.network, f.tls = "tcp", u.Scheme == "tls"
	default:
		return errors.New("log driver fluentd: the scheme of fluentd-address is to be tcp, tls or unix")
	}
	if u.Path != "" || u.RawQuery != "" || u.User != nil {
		return errors.New("log driver fluentd: fluentd-address should not contain a path, a query or a user")
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = "24224"
	}
	f.address = net.JoinHostPort(host, port)
	return nil
}

func (f *fluentd) verify(ctx context.Context) error {
	if f.lazy {
		return nil
	}
	if err := f.connect(ctx); err != nil {
		return fmt.Errorf("verifying the connection (fluentd-async=true starts without one): %w", err)
	}
	return nil
}

func (f *fluentd) connect(ctx context.Context) error {
	if f.conn != nil {
		return nil
	}
	dialer := &net.Dialer{Timeout: fluentdTimeout, KeepAlive: 15 * time.Second}
	var err error
	if f.dial != nil {
		f.conn, err = f.dial(ctx)
	} else if f.tls {
		f.conn, err = (&tls.Dialer{NetDialer: dialer}).DialContext(ctx, f.network, f.address)
	} else {
		f.conn, err = dialer.DialContext(ctx, f.network, f.address)
	}
	if err != nil {
		f.conn = nil
		// A dialer's error repeats the address, which secretOptions may have given.
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
			err = op.Err
		}
		return fmt.Errorf("connecting to fluentd: %w", err)
	}
	f.from = decoder{bufio.NewReader(f.conn)}
	return nil
}

func (f *fluentd) close() {
	if f.conn != nil {
		f.conn.Close()
		f.conn = nil
	}
}

func (f *fluentd) ship(ctx context.Context, entries []entry) (err error) {
	// Entries with one tag go together, in order.
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && entries[n].Tag == entries[0].Tag {
			n++
		}
		if err := f.forward(ctx, entries[:n]); err != nil {
			f.close()
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// forward sends Forward Mode: [tag, [[time, record], …], option].
func (f *fluentd) forward(ctx context.Context, entries []entry) error {
	if err := f.connect(ctx); err != nil {
		return err
	}
	conn := f.conn
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	chunk := ""
	b := appendText(appendArray(nil, 2), entries[0].Tag)
	if f.acks {
		chunk = rand.Text()
		b = appendText(appendArray(nil, 3), entries[0].Tag)
	}
	b = appendArray(b, len(entries))
	for _, e := range entries {
		b = appendTime(appendArray(b, 2), e.Time, f.precise)
		b = appendMap(b, 4+len(e.Attrs))
		for name, value := range e.Attrs {
			b = appendText(appendText(b, name), value)
		}
		for _, pair := range [][2]string{{"container_id", e.ID}, {"container_name", e.Name}, {"source", e.Source}, {"log", e.Line}} {
			b = appendText(appendText(b, pair[0]), pair[1])
		}
	}
	if f.acks {
		b = appendText(appendText(appendMap(b, 1), "chunk"), chunk)
	}
	if err := conn.SetDeadline(time.Now().Add(fluentdTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return fmt.Errorf("sending to fluentd: %w", unaddressed(err))
	}
	if !f.acks {
		return nil
	}
	answer, err := f.from.texts()
	if err != nil {
		return fmt.Errorf("waiting for fluentd's acknowledgement (fluentd-request-ack=false goes without): %w", unaddressed(err))
	}
	if answer["ack"] != chunk {
		return errors.New("fluentd acknowledged something else")
	}
	return nil
}

// unaddressed takes the addresses out of a network's error.
func unaddressed(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}
