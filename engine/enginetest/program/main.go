// Command program is what test images run. Package enginetest documents its verbs.
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == "sh" {
		if len(args) != 2 || args[0] != "-c" {
			fatal(fmt.Errorf("this shell knows only -c, not %q", args))
		}
		args = strings.Fields(args[1])
		for i, word := range args {
			if name, ok := strings.CutPrefix(word, "$"); ok {
				args[i] = os.Getenv(name)
			}
		}
	}
	for len(args) > 0 {
		words, rest := args, []string(nil)
		if i := slices.Index(args, "then"); i >= 0 && args[0] != "argv" {
			words, rest = args[:i], args[i+1:]
		}
		if err := run(words[0], words[1:]); err != nil {
			fatal(fmt.Errorf("%s: %w", words[0], err))
		}
		args = rest
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "program:", err)
	os.Exit(1)
}

var arity = map[string]int{
	"check": 2, "burst": 2, "printenv": 1, "exit": 1, "sleep": 1, "trap": 1, "reload": 1, "write": 2, "writeenv": 2,
	"writefrom": 2, "cat": 1, "sum": 1, "wait": 1, "serve": 1, "get": 1, "fetch": 2, "socket": 1, "fill": 1,
}

func run(verb string, args []string) error {
	if n, ok := arity[verb]; ok && len(args) != n {
		return fmt.Errorf("%d arguments, want %d", len(args), n)
	}
	switch verb {
	case "env":
		printEnv(args)
	case "check":
		if got := hash([]byte(os.Getenv(args[0]))); got != args[1] {
			return fmt.Errorf("%s has hash %s, want %s", args[0], got, args[1])
		}
	case "print":
		fmt.Println(strings.Join(args, " "))
	case "warn":
		fmt.Fprintln(os.Stderr, strings.Join(args, " "))
	case "burst":
		return burst(args[0], args[1])
	case "printenv":
		fmt.Println(os.Getenv(args[0]))
	case "argv":
		return json.NewEncoder(os.Stdout).Encode(os.Args)
	case "id":
		return printID()
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(code)
	case "sleep":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		time.Sleep(d)
	case "trap":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("ready")
		<-term
		fmt.Println("terminated")
		os.Exit(code)
	case "reload":
		return reload(args[0])
	case "write":
		return write(args[0], []byte(args[1]))
	case "writeenv":
		return write(args[0], []byte(os.Getenv(args[1])))
	case "writefrom":
		content, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		return write(args[0], content)
	case "cat":
		content, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(content)
		return err
	case "sum":
		return sum(args[0])
	case "fill":
		return fill(args[0])
	case "wait":
		return eventually(func() error {
			_, err := os.Stat(args[0])
			return err
		})
	case "serve":
		return serve(args[0])
	case "get":
		status, body, err := get(args[0])
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", status, body)
	case "fetch":
		return eventually(func() error {
			status, body, err := get(args[0])
			if err == nil && strconv.Itoa(status) != args[1] {
				err = fmt.Errorf("status %d: %s", status, body)
			}
			return err
		})
	case "socket":
		return socket(args[0])
	default:
		return errors.New("no such verb")
	}
	return nil
}

func printEnv(names []string) {
	if len(names) == 0 {
		for _, pair := range os.Environ() {
			name, _, _ := strings.Cut(pair, "=")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		value, ok := os.LookupEnv(name)
		if !ok {
			fmt.Println(name, "absent")
			continue
		}
		fmt.Println(name, hash([]byte(value)), len(value))
	}
}

func burst(count, size string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	length, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	for i := range n {
		line := fmt.Sprintf("line %d ", i)
		fmt.Println(line + strings.Repeat("x", max(0, length-len(line))))
	}
	return nil
}

func printID() error {
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	ignored, blocked := "", ""
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, "SigIgn:"); ok {
			ignored = strings.TrimSpace(value)
		}
		if value, ok := strings.CutPrefix(line, "SigBlk:"); ok {
			blocked = strings.TrimSpace(value)
		}
	}
	fmt.Printf("pid=%d uid=%d gid=%d cwd=%s ignored=%s blocked=%s\n", os.Getpid(), os.Getuid(), os.Getgid(), cwd, ignored, blocked)
	return nil
}

// reload is a server that reads a file again when it is told to.
func reload(path string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM)
	fmt.Println("ready")
	for s := range signals {
		if s == syscall.SIGTERM {
			break
		}
		fmt.Println("reloaded")
		if err := sum(path); err != nil {
			return err
		}
	}
	return nil
}

func write(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o644)
}

// fill writes until it cannot, and says how far it came.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for n := 0; ; n++ {
		if _, err := f.Write(block); err != nil {
			fmt.Printf("%d MiB: %v\n", n, err)
			return nil
		}
	}
}

func sum(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	fmt.Println(path, hash(content), len(content), info.Mode())
	return nil
}

func serve(address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/login", func(w http.ResponseWriter, _ *http.Request) {
		if err := login(os.Getenv("REDIS"), os.Getenv("USERNAME"), os.Getenv("PASSWORD")); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/env/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, hash([]byte(os.Getenv(r.PathValue("name")))))
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println("serving")
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(listener, mux) }()
	select {
	case err := <-failed:
		return err
	case <-term:
	}
	if linger := os.Getenv("LINGER"); linger != "" { // as behind a load balancer that goes on for a while
		d, err := time.ParseDuration(linger)
		if err != nil {
			return err
		}
		time.Sleep(d)
	}
	return nil
}

// login asks Redis for a PONG as a user.
func login(address, user, password string) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "*3\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n*1\r\n$4\r\nPING\r\n", len(user), user, len(password), password)
	answers := bufio.NewReader(conn)
	for _, want := range []string{"+OK", "+PONG"} {
		line, err := answers.ReadString('\n')
		if err != nil {
			return err
		}
		if line = strings.TrimSpace(line); line != want {
			return fmt.Errorf("redis: %s", line)
		}
	}
	return nil
}

func get(url string) (int, string, error) {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, strings.TrimSpace(string(body)), err
}

func socket(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println("unreachable")
		return nil
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "malote-init 1\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil && len(answer) == 0 {
		fmt.Println("refused")
		return nil
	}
	if len(answer) < 5 || answer[0] != 0 {
		fmt.Println("refused")
		return nil
	}
	fmt.Println("received", binary.BigEndian.Uint32(answer[1:5]))
	return nil
}

func eventually(try func() error) error {
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = try(); err == nil {
			return nil
		}
	}
	return err
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
