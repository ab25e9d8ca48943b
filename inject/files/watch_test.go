package files_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"golang.org/x/sys/unix"

	"github.com/malote/malote/inject/files"
	"github.com/malote/malote/malotetest"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	set := s.set(dir,
		files.File{ValueFrom: s.arn + ":password::", Name: "secret"},
		files.File{ValueFrom: s.arn + ":user::", Name: "user"},
		files.File{ValueFrom: s.arn + ":password::" + s.first, Name: "pinned"},
		files.File{ValueFrom: "/shop/key", Name: "parameter"},
		files.File{ValueFrom: "/shop/", Name: "path", Format: "dotenv"},
		files.File{ValueFrom: "s3://shop/tls/key.pem", Name: "object"},
	)
	if err := set.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	changed, ended := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(ended)
		set.Watch(ctx, 50*time.Millisecond, func() { changed <- struct{}{} })
	}()
	defer func() { stop(); <-ended }()
	quiet := func() {
		t.Helper()
		select {
		case <-changed:
			t.Error("it told of a change when there was none")
		case <-time.After(300 * time.Millisecond):
		}
	}
	until := func(name, want string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; {
			if got, err := os.ReadFile(path(name)); err == nil && string(got) == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s was not written again: %s", name, s.log.String())
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	told := func() {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatal("it did not tell of a change")
		}
	}
	quiet()

	before, err := os.Stat(path("user"))
	if err != nil {
		t.Fatal(err)
	}
	rotated := s.Canary()
	s.rotate(rotated)
	until("secret", rotated)
	told()
	s.has(path("pinned"), s.old)
	if after, err := os.Stat(path("user")); err != nil || !os.SameFile(before, after) {
		t.Errorf("a file was written whose content is the same: %v", err)
	}
	key := s.Canary()
	s.put("/shop/key", key)
	until("parameter", key)
	until("path", "deep_other='other'\nkey='"+key+"'\n")
	told()
	object := s.Canary()
	s.upload(object)
	until("object", object)
	told()
	for len(changed) > 0 { // the parameter and the path may have been seen apart
		<-changed
	}
	quiet()

	t.Run("a source that is gone and comes back", func(t *testing.T) {
		if _, err := s.secrets.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &s.arn}); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(s.log.String(), "the file is kept as it is"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing was logged")
			}
		}
		s.has(path("secret"), rotated)
		s.put("/shop/key", "goes on")
		until("parameter", "goes on")
		if _, err := s.secrets.RestoreSecret(t.Context(), &secretsmanager.RestoreSecretInput{SecretId: &s.arn}); err != nil {
			t.Fatal(err)
		}
		back := s.Canary()
		s.rotate(back)
		until("secret", back)
	})
	if got := names(t, dir); len(got) != 6 {
		t.Errorf("the directory has %v", got)
	}
}

// Who may read a secret and not describe it watches it all the same.
func TestWatchWithoutDescribe(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	dir := t.TempDir()
	set := s.set(dir, files.File{ValueFrom: s.arn + ":password::", Name: "secret"})
	set.Config = s.Role(t, "reader", malotetest.Allow(s.arn, "secretsmanager:GetSecretValue"))
	if err := set.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	rotated := s.Canary()
	s.rotate(rotated)
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	set.Watch(ctx, 20*time.Millisecond, stop)
	s.has(filepath.Join(dir, "secret"), rotated)
}

// Between one sidecar's files and the first look of another that watches them, a secret may change:
// whoever has read the first files is told of it as of any change.
func TestWatchTellsOfWhatWriteChanged(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	dir := t.TempDir()
	file := files.File{ValueFrom: s.arn + ":password::", Name: "secret"}
	told := func() (times int) {
		t.Helper()
		set := s.set(dir, file)
		if err := set.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		set.Watch(ctx, time.Hour, func() { times++ })
		return times
	}
	if n := told(); n != 0 {
		t.Errorf("it told %d times of files that were not there before", n)
	}
	if n := told(); n != 0 {
		t.Errorf("it told %d times of files that are as they were", n)
	}
	rotated := s.Canary()
	s.rotate(rotated)
	if n := told(); n != 1 {
		t.Errorf("it told %d times of another content, want once", n)
	}
	s.has(filepath.Join(dir, "secret"), rotated)
}

func TestSignal(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]unix.Signal{"HUP": unix.SIGHUP, "sigusr1": unix.SIGUSR1, "15": unix.SIGTERM} {
		if got, err := files.ParseSignal(in); err != nil || got != want {
			t.Errorf("ParseSignal(%s) = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "NOPE", "0", "-1", "999"} {
		if got, err := files.ParseSignal(in); err == nil {
			t.Errorf("ParseSignal(%q) = %v", in, got)
		}
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	name := "sleep-" + strconv.Itoa(os.Getpid())
	for _, by := range []string{"pid file", "name"} {
		process := &exec.Cmd{Path: sleep, Args: []string{"/bin/" + name, "60"}}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		signal := files.Signal{Signal: unix.SIGTERM, Process: name}
		if by == "pid file" {
			signal = files.Signal{Signal: unix.SIGTERM, PIDFile: filepath.Join(t.TempDir(), "pid")}
			if err := os.WriteFile(signal.PIDFile, []byte(strconv.Itoa(process.Process.Pid)+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := signal.Send(); err != nil {
			t.Errorf("by %s: %v", by, err)
			process.Process.Kill()
		}
		if err := process.Wait(); err == nil || !strings.Contains(err.Error(), "terminated") {
			t.Errorf("by %s: %v", by, err)
		}
		if err := signal.Send(); err == nil {
			t.Errorf("by %s: nobody was signalled, and nothing said", by)
		}
	}
	bad := filepath.Join(t.TempDir(), "pid")
	for text, want := range map[string]string{"-1": "has no process id", strconv.Itoa(os.Getpid()): "has the id of this process"} {
		if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (files.Signal{Signal: unix.SIGTERM, PIDFile: bad}).Send(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %s: error = %v, want %s", text, err, want)
		}
	}
}

// The server hears of it, and goes on with its workers.
func TestSignalToAServerWithWorkers(t *testing.T) {
	t.Parallel()
	name := "server-" + strconv.Itoa(os.Getpid())
	// Not HUP: a shell that was started with it ignored, as by nohup, cannot trap it.
	server := exec.CommandContext(t.Context(), "/bin/sh")
	server.Args = []string{name, "-c", `trap "echo heard" USR1; exec 3<&0; (read x <&3; echo worker goes on) & echo started; until wait; do :; done`}
	in, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("the server says %q, want %q", lines.Text(), want)
		}
	}
	expect("started")
	if err := (files.Signal{Signal: unix.SIGUSR1, Process: name}).Send(); err != nil {
		t.Fatal(err)
	}
	expect("heard")
	in.Close()
	expect("worker goes on")
	server.Wait()
}

// While nothing changes no key is asked to decrypt anything: that it cannot is not noticed.
func TestWatchGetsNoValueThatItHas(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	keys := kms.NewFromConfig(s.Config())
	key, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.params.PutParameter(t.Context(), &ssm.PutParameterInput{
		Name: aws.String("/locked/key"), Value: aws.String(s.Canary()), Type: ssmtypes.ParameterTypeSecureString, KeyId: key.KeyMetadata.KeyId,
	}); err != nil {
		t.Fatal(err)
	}
	locked, err := s.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("locked"), SecretString: aws.String(s.Canary()), KmsKeyId: key.KeyMetadata.KeyId})
	if err != nil {
		t.Fatal(err)
	}
	set := s.set(t.TempDir(),
		files.File{ValueFrom: *locked.ARN, Name: "secret"}, files.File{ValueFrom: "/locked/key", Name: "parameter"}, files.File{ValueFrom: "/locked/", Name: "path", Format: "json"},
	)
	if err := set.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	set.Watch(ctx, 20*time.Millisecond, func() { t.Error("it told of a change when there was none") })
	if log := s.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the log: %s", log)
	}
}
