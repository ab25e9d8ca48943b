package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// registry is Debian's docker-registry with a password.
type registry struct {
	address  string // localhost:PORT: Docker talks plain HTTP to that
	password string
	command  *exec.Cmd
	log      *os.File
}

func startRegistry(ctx context.Context, temp, password string) (*registry, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	r := &registry{address: fmt.Sprintf("localhost:%d", port), password: password}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	users := filepath.Join(temp, "htpasswd")
	if err := os.WriteFile(users, []byte("shop:"+string(hash)+"\n"), 0o600); err != nil {
		return nil, err
	}
	settings := filepath.Join(temp, "registry.yml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, `version: 0.1
storage: {filesystem: {rootdirectory: %s}}
http: {addr: "127.0.0.1:%d"}
auth: {htpasswd: {realm: shop, path: %s}}
`, filepath.Join(temp, "registry"), port, users), 0o600); err != nil {
		return nil, err
	}
	if r.log, err = os.Create(filepath.Join(temp, "registry.log")); err != nil {
		return nil, err
	}
	r.command = exec.CommandContext(ctx, "docker-registry", "serve", settings)
	r.command.Stdout, r.command.Stderr = r.log, r.log
	if err := r.command.Start(); err != nil {
		return nil, fmt.Errorf("starting docker-registry (Debian package docker-registry): %w", err)
	}
	for range 100 {
		if response, err := http.Get("http://" + r.address + "/v2/"); err == nil {
			response.Body.Close()
			return r, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.stop()
	return nil, errors.New("docker-registry does not answer")
}

func (r *registry) stop() {
	r.command.Process.Kill()
	r.command.Wait()
	r.log.Close()
}

// splunk is an HTTP event collector that takes one token.
type splunk struct {
	address string
	token   string
	events  chan string
	refused chan error
	server  *http.Server
}

func startSplunk(token string) (*splunk, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &splunk{listener.Addr().String(), token, make(chan string, 100), make(chan error, 1), nil}
	s.server = &http.Server{Handler: http.HandlerFunc(s.collect), ReadHeaderTimeout: 5 * time.Second}
	go s.server.Serve(listener)
	return s, nil
}

func (s *splunk) stop() { s.server.Close() }

func (s *splunk) collect(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Splunk "+s.token)) != 1 {
		w.WriteHeader(http.StatusForbidden)
		select {
		case s.refused <- errors.New("the Splunk collector was sent another token than the secret's"):
		default:
		}
		return
	}
	var event struct{ Event any }
	if err := decode(r.Body, &event); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	select {
	case s.events <- fmt.Sprint(event.Event):
	default:
	}
	fmt.Fprint(w, `{"text":"Success","code":0}`)
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
