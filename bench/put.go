package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// What OpenBao's raft storage and etcd did with 64 writers in one sitting on such a
// machine: docs/performance.md. OpenBao itself cannot be run by this program.
const (
	openBaoRate             = 780
	etcdLowest, etcdHighest = 9600, 18400
)

// puts compares PutSecretValue, acknowledged when it is on the disk, with etcd's Put of as
// many bytes, and with the disk itself.
func (b *bench) puts(ctx context.Context) error {
	const conns = 64
	d, err := b.fill(ctx, 10*few) // so that a secret gets few versions
	if err != nil {
		return err
	}
	server, err := b.server(d)
	if err != nil {
		return err
	}
	defer server.stop()
	if err := server.answers(ctx, d.reads("GetSecretValue", 1)[0]); err != nil {
		return err
	}
	cluster, err := b.etcd(ctx)
	if err != nil {
		return err
	}
	defer cluster.close()

	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var turn atomic.Int64
	put := func() (loaded, error) {
		s := newSigner(d.key.id, d.key.secret)
		return load(ctx, server.addr, conns, b.round, func(int, int) []byte {
			name := secretName(int(turn.Add(1)) % d.secrets)
			return s.request("PutSecretValue", `{"SecretId":`+strconv.Quote(name)+`,"ClientRequestToken":"`+uuid()+`","SecretString":`+string(text)+`}`)
		})
	}
	var ratios, ours, etcds, syncs, p50 []float64
	for round := range b.rounds + 1 {
		x, err := cluster.puts(ctx, conns, b.round)
		if err != nil {
			return fmt.Errorf("etcd: %w", err)
		}
		y, err := put()
		if err != nil {
			return err
		}
		z, err := b.fsyncs(b.round / 2)
		if err != nil {
			return err
		}
		if round == 0 {
			continue
		}
		ratios = append(ratios, y.rate()/x)
		ours, etcds, syncs = append(ours, y.rate()), append(etcds, x), append(syncs, z)
		p50 = append(p50, milli(y.quantile(0.5)))
	}
	b.add(figure{
		what: "durable PutSecretValue ÷ etcd Put, 64 connections", value: median(ratios), more: true,
		detail: fmt.Sprintf("%.0f/s (p50 %.1f ms) ÷ %.0f/s; middle half %s", median(ours), median(p50), median(etcds), spread(ratios)),
	})
	b.add(figure{
		what: "  ÷ OpenBao raft, derived through etcd's lowest rate", value: median(ratios) * etcdLowest / openBaoRate, must: 5, aim: 10, more: true,
		detail: fmt.Sprintf("× %d/%d; by the highest %.1f", etcdLowest, openBaoRate, median(ratios)*etcdHighest/openBaoRate),
	})
	b.add(figure{
		what: "  ÷ one writer's fdatasync of 4 KiB", value: median(ours) / median(syncs), more: true,
		detail: fmt.Sprintf("%.0f fdatasync/s", median(syncs)),
	})
	return nil
}

// fsyncs is how often a second one writer can append 4 KiB and have them on the disk.
func (b *bench) fsyncs(d time.Duration) (float64, error) {
	f, err := os.Create(filepath.Join(b.dir, "fsync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	began, n := time.Now(), 0
	for ; time.Since(began) < d; n++ {
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// cluster is an etcd of one member.
type cluster struct {
	cmd    *exec.Cmd
	dir    string
	client *clientv3.Client
	turn   atomic.Int64
}

func (b *bench) etcd(ctx context.Context) (*cluster, error) {
	c := &cluster{dir: filepath.Join(b.dir, "etcd")}
	if err := os.RemoveAll(c.dir); err != nil {
		return nil, err
	}
	addrs := make([]string, 2)
	for i := range addrs {
		addr, err := freeAddr()
		if err != nil {
			return nil, err
		}
		addrs[i] = "http://" + addr
	}
	c.cmd = exec.Command("etcd", "--name", "bench", "--data-dir", c.dir, "--log-level", "error",
		"--listen-client-urls", addrs[0], "--advertise-client-urls", addrs[0],
		"--listen-peer-urls", addrs[1], "--initial-advertise-peer-urls", addrs[1], "--initial-cluster", "bench="+addrs[1])
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("etcd (Debian package etcd-server): %w", err)
	}
	var err error
	if c.client, err = clientv3.New(clientv3.Config{Endpoints: []string{addrs[0]}, DialTimeout: 10 * time.Second}); err != nil {
		c.close()
		return nil, err
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addrs[0][len("http://"):]); err == nil {
			conn.Close()
			break
		} else if time.Now().After(deadline) {
			c.close()
			return nil, err
		}
	}
	_, err = c.client.Put(ctx, "ready", "")
	if err != nil {
		c.close()
	}
	return c, err
}

func (c *cluster) close() {
	if c.client != nil {
		c.client.Close()
	}
	c.cmd.Process.Kill()
	c.cmd.Wait()
	os.RemoveAll(c.dir)
}

// puts is how many Puts of a kilobyte a second the cluster acknowledges.
func (c *cluster) puts(ctx context.Context, clients int, d time.Duration) (float64, error) {
	var group sync.WaitGroup
	var n atomic.Int64
	var failed atomic.Pointer[error]
	began := time.Now()
	for range clients {
		group.Go(func() {
			for time.Since(began) < d {
				if _, err := c.client.Put(ctx, secretName(int(c.turn.Add(1))%(10*few)), value); err != nil {
					failed.Store(&err)
					return
				}
				n.Add(1)
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(n.Load()) / time.Since(began).Seconds(), nil
}
