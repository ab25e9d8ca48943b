package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/malote/malote/service/iam/directory"
)

// defaultDataDir is where a malote of this user keeps its data.
func defaultDataDir() string {
	if os.Getuid() == 0 {
		return "/var/lib/malote"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "malote")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "malote-data"
	}
	return filepath.Join(home, ".local", "share", "malote")
}

// connection is how a shell on this machine reaches a running malote.
type connection struct {
	Endpoint        string
	Region          string
	AccessKeyID     string
	SecretAccessKey string
	CABundle        string `json:",omitempty"` // file with who vouches for Endpoint, when no system knows
}

// controlSocket is where a running malote talks to its own user alone: the socket is
// his, with mode 0600, in a directory of mode 0700.
func controlSocket(dataDir string) string { return filepath.Join(dataDir, "control.sock") }

// maxSocketName is what the kernel takes for the name of a socket (sun_path, less its end).
const maxSocketName = 107

// checkDataDir refuses one that has no control socket, before anything is made there: an admin
// whose access key nobody could ask for.
func checkDataDir(dir string) error {
	if n := len(controlSocket(dir)); n > maxSocketName {
		return &hintError{
			&usageError{fmt.Errorf("--data-dir %s: the name of its control.sock would have %d bytes, and a socket's has %d at most", dir, n, maxSocketName)},
			"a symbolic link to it may be shorter",
		}
	}
	return nil
}

// control is what the control socket asks for: by functions that may be called at any time.
type control struct {
	connect       func(ctx context.Context, account string) (*connection, error)
	rotateSeal    func(context.Context) error
	replaceCA     func(context.Context) error
	createAccount func(context.Context, directory.NewAccount) (*createdAccount, error)
	accounts      func(context.Context) ([]listedAccount, error)
	copyStore     func(io.Writer) error
}

// serveControl answers on the control socket until ctx ends.
func serveControl(ctx context.Context, dataDir string, log *slog.Logger, c control) (wait func(), err error) {
	path := controlSocket(dataDir)
	// A socket that a killed process left is in the way; the store's lock says that nobody uses it.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening on the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, of any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(of)
	}
	mux.HandleFunc("GET /connection", func(w http.ResponseWriter, r *http.Request) {
		found, err := c.connect(r.Context(), r.FormValue("account"))
		answer(w, found, err)
	})
	mux.HandleFunc("GET /accounts", func(w http.ResponseWriter, r *http.Request) {
		all, err := c.accounts(r.Context())
		answer(w, all, err)
	})
	mux.HandleFunc("POST /accounts", func(w http.ResponseWriter, r *http.Request) {
		made, err := c.createAccount(r.Context(), directory.NewAccount{
			ID: r.FormValue("id"), Name: r.FormValue("name"), Email: r.FormValue("email"), Root: r.FormValue("root") == "true",
		})
		answer(w, made, err)
	})
	mux.HandleFunc("GET /store", func(w http.ResponseWriter, r *http.Request) {
		copied := &begun{Writer: w}
		switch err := c.copyStore(copied); {
		case err == nil:
		case !copied.yes:
			http.Error(w, err.Error(), http.StatusConflict)
		default:
			log.Error("copying the store", "err", err)
			panic(http.ErrAbortHandler) // so that what was sent is not taken for all
		}
	})
	for path, do := range map[string]func(context.Context) error{"/seal/rotate": c.rotateSeal, "/ca/replace": c.replaceCA} {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("control socket ended", "err", err)
		}
	}()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		server.Close()
	}()
	return func() { <-stopped; <-done }, nil
}

// begun is a writer that knows whether anything was written.
type begun struct {
	io.Writer
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.Writer.Write(p)
}

// errNotRunning says that no malote answers for a data directory.
var errNotRunning = errors.New("no malote runs on this data directory")

// askControl asks the malote that runs on dataDir. When nobody listens there it returns
// errNotRunning, and another error when somebody may. The answer is one of success, whose body
// the caller closes.
func askControl(ctx context.Context, dataDir, method, path string) (*http.Response, error) {
	if len(controlSocket(dataDir)) > maxSocketName {
		return nil, errNotRunning // see checkDataDir
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", controlSocket(dataDir))
		},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://malote"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		switch {
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("the malote on %s belongs to another user: %w", dataDir, fs.ErrPermission)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			return nil, errNotRunning
		}
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // its URL is nobody's
		}
		return nil, fmt.Errorf("asking the malote on %s: %w", dataDir, err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
		if err != nil {
			return nil, err
		}
		return nil, errors.New(string(bytes.TrimSpace(body)))
	}
	return response, nil
}

// callControl is askControl for short answers.
func callControl(ctx context.Context, dataDir, method, path string) ([]byte, error) {
	response, err := askControl(ctx, dataDir, method, path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(io.LimitReader(response.Body, 1<<20))
}

// localConnection asks the malote that runs on dataDir how to reach it, as the admin of an
// account: "" for its own.
func localConnection(ctx context.Context, dataDir, account string) (*connection, error) {
	body, err := callControl(ctx, dataDir, http.MethodGet, "/connection?"+url.Values{"account": {account}}.Encode())
	if err != nil {
		return nil, err
	}
	c := new(connection)
	return c, json.Unmarshal(body, c)
}
