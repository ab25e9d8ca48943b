package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is a server that runs.
type process struct {
	cmd  *exec.Cmd
	addr string
	log  *os.File
}

// freeAddr is an address that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// launch starts a program; what it logs goes to a file beside the stores.
func (b *bench) launch(name, program string, args []string, env ...string) (*process, error) {
	log, err := os.Create(filepath.Join(b.dir, name+".stderr"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		log.Close()
		return nil, err
	}
	return &process{cmd: cmd, log: log}, nil
}

// server starts malote on the data and returns at once; addr is where it will listen.
func (b *bench) server(d *data) (*process, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := b.launch("malote", b.malote, []string{"server", "--listen", addr, "--data-dir", d.dir})
	if err != nil {
		return nil, err
	}
	p.addr = addr
	return p, nil
}

func (b *bench) limitServer(key accessKey) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := b.launch("limit", self, []string{"limit"}, "BENCH_LISTEN="+addr, "BENCH_SECRET_ACCESS_KEY="+key.secret)
	if err != nil {
		return nil, err
	}
	p.addr = addr
	return p, nil
}

// answers returns when the server has answered request with 200.
func (p *process) answers(ctx context.Context, request []byte) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		c, err := dial(p.addr)
		if err == nil {
			err = c.do(request)
			c.Close()
			if err == nil {
				return nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			text, _ := os.ReadFile(p.log.Name())
			return fmt.Errorf("no answer: %w\n%s", err, text)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// stop ends the process as an operator would.
func (p *process) stop() error {
	defer p.log.Close()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case <-done:
		return nil
	case <-time.After(20 * time.Second):
		p.cmd.Process.Kill()
		<-done
		return errors.New("the server did not end by itself")
	}
}

const ticks = 100 // USER_HZ, which Linux fixes for all that user space sees

// cpu is the processor time that the process has had.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the 3rd, the state, on
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * time.Second / ticks, err
}

// resident is the memory of the process that is in RAM, in MiB.
func (p *process) resident() (total, file float64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			total = kib / 1024
		case "RssFile:":
			file = kib / 1024
		}
	}
	return total, file, lines.Err()
}
