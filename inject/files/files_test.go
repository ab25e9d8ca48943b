package files_test

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/inject/files"
	"github.com/malote/malote/malotetest"
)

// shop is a malote with a secret of each kind.
type shop struct {
	*malotetest.System
	t       *testing.T
	secrets *secretsmanager.Client
	params  *ssm.Client
	objects *s3.Client

	password, old, key, object string // canaries
	arn, first                 string // of the secret, and its first version
	log                        *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newShop(t *testing.T) *shop {
	t.Helper()
	sys := malotetest.New(t)
	s := &shop{System: sys, t: t, log: new(buffer),
		secrets: secretsmanager.NewFromConfig(sys.Config()), params: ssm.NewFromConfig(sys.Config()),
		objects:  s3.NewFromConfig(sys.Config(), func(o *s3.Options) { o.UsePathStyle = true }),
		password: sys.Canary(), old: sys.Canary(), key: sys.Canary(), object: sys.Canary()}
	made, err := s.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("shop/db"), SecretString: aws.String(`{"user":"shop","password":"` + s.old + `"}`)})
	if err != nil {
		t.Fatal(err)
	}
	s.arn, s.first = *made.ARN, *made.VersionId
	s.rotate(s.password)
	s.put("/shop/key", s.key)
	s.put("/shop/deep/other", "other")
	if _, err := s.objects.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("shop")}); err != nil {
		t.Fatal(err)
	}
	s.upload(s.object)
	t.Cleanup(func() {
		for _, hit := range sys.Canaries.Bytes("the log", []byte(s.log.String())) {
			t.Errorf("a secret leaked: %s", hit)
		}
	})
	return s
}

func (s *shop) rotate(password string) {
	s.t.Helper()
	if _, err := s.secrets.PutSecretValue(s.t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &s.arn, SecretString: aws.String(`{"user":"shop","password":"` + password + `"}`)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) put(name, value string) {
	s.t.Helper()
	if _, err := s.params.PutParameter(s.t.Context(), &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeSecureString, Overwrite: aws.Bool(true)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) upload(text string) {
	s.t.Helper()
	if _, err := s.objects.PutObject(s.t.Context(), &s3.PutObjectInput{Bucket: aws.String("shop"), Key: aws.String("tls/key.pem"), Body: strings.NewReader(text)}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) set(dir string, list ...files.File) *files.Set {
	return &files.Set{Config: s.Config(), Dir: dir, Files: list, Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
}

// fails writes, which must not succeed, and returns the error without a secret in it.
func (s *shop) fails(dir string, list ...files.File) string {
	s.t.Helper()
	err := s.set(dir, list...).Write(s.t.Context())
	if err == nil {
		s.t.Fatalf("writing %+v succeeded", list)
	}
	for _, hit := range s.Canaries.Bytes("the error", []byte(err.Error())) {
		s.t.Errorf("a secret leaked: %s", hit)
	}
	return err.Error()
}

// has compares a file, without showing what is in it.
func (s *shop) has(path, want string) {
	s.t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		s.t.Errorf("%s has another content than it should: %v", path, err)
	}
}

// names are the files below a directory.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEverySource(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	binary := string([]byte{0, 255, 1}) + s.Canary()
	keystore, err := s.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("keystore"), SecretBinary: []byte(binary)})
	if err != nil {
		t.Fatal(err)
	}
	current := `{"user":"shop","password":"` + s.password + `"}`
	parameter := "arn:aws:ssm:" + malotetest.Region + ":" + malotetest.Account + ":parameter/shop/"
	dir := t.TempDir()
	var list []files.File
	want := map[string]string{}
	for i, tt := range []struct {
		file files.File
		want string
	}{
		{files.File{ValueFrom: s.arn}, current},
		{files.File{ValueFrom: s.arn + ":password::"}, s.password},
		{files.File{ValueFrom: s.arn + ":password:AWSPREVIOUS:"}, s.old},
		{files.File{ValueFrom: s.arn + ":password::" + s.first}, s.old},
		{files.File{ValueFrom: *keystore.ARN}, binary},
		{files.File{ValueFrom: "/shop/key"}, s.key},
		{files.File{ValueFrom: parameter + "key"}, s.key},
		{files.File{ValueFrom: "/shop/", Format: "dotenv"}, "deep_other='other'\nkey='" + s.key + "'\n"},
		{files.File{ValueFrom: parameter, Format: "properties"}, "deep/other=other\nkey=" + s.key + "\n"},
		{files.File{ValueFrom: "s3://shop/tls/key.pem"}, s.object},
		{files.File{ValueFrom: "arn:aws:s3:::shop/tls/key.pem"}, s.object},
		{files.File{ValueFrom: s.arn, Template: "postgres://{{.user}}:{{.password}}@db"}, "postgres://shop:" + s.password + "@db"},
	} {
		tt.file.Name = "d/" + strconv.Itoa(i)
		list = append(list, tt.file)
		want[tt.file.Name] = tt.want
	}
	if err := s.set(dir, list...).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		s.has(filepath.Join(dir, name), text)
	}
	if got := names(t, dir); len(got) != len(want) {
		t.Errorf("the directory has %v", got)
	}
	if log := s.log.String(); !strings.Contains(log, "arn="+s.arn) {
		t.Errorf("the log does not say what was written: %s", log)
	}
}

func TestOneThatFailsLeavesAllAsTheyWere(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	good := files.File{ValueFrom: "/shop/key", Name: "a"}
	for _, tt := range []struct {
		name string
		bad  files.File
		want []string
	}{
		{"no such parameter", files.File{ValueFrom: "/shop/none"}, []string{"b: valueFrom: ", "invalid parameters: /shop/none"}},
		{"no such key", files.File{ValueFrom: s.arn + ":pass::"}, []string{"b: valueFrom: ", "did not contain json key pass: it has password, user"}},
		{"no such path", files.File{ValueFrom: "/none/", Format: "json"}, []string{"b: valueFrom: ", "no parameter below /none/"}},
		{"no such object", files.File{ValueFrom: "s3://shop/none"}, []string{"b: valueFrom: s3://shop/none: NoSuchKey: ", "s3:GetObject"}},
		{"no such bucket", files.File{ValueFrom: "s3://nowhere/none"}, []string{"NoSuchBucket"}},
		{"no such key of a template", files.File{ValueFrom: s.arn, Template: "{{.pass}}"}, []string{"b: template: line 1, column 2: the value has no such key"}},
		{"no such user", files.File{ValueFrom: s.arn, Owner: "no-such-user"}, []string{`b: owner: there is no user "no-such-user" here`}},
		{"no such group", files.File{ValueFrom: s.arn, Group: "no-such-group"}, []string{`b: group: there is no group "no-such-group" here`}},
		{"a number that means none", files.File{ValueFrom: s.arn, Owner: "4294967295"}, []string{"b: owner: "}},
		{"out of the directory", files.File{ValueFrom: s.arn, Name: "../b"}, []string{"../b: file: want the name of a file below"}},
		{"over a directory", files.File{ValueFrom: s.arn, Name: "dir"}, []string{"dir: file: there is a directory of that name"}},
		{"below a file", files.File{ValueFrom: s.arn, Name: "a/b"}, []string{"a/b: file: making its directory: "}},
		{"through a symlink", files.File{ValueFrom: s.arn, Name: "link/b"}, []string{"link/b: file: "}},
		{"under a name that is too long", files.File{ValueFrom: s.arn, Name: strings.Repeat("x", 300)}, []string{"file name too long"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, outside := t.TempDir(), t.TempDir()
			before := filepath.Join(dir, "a")
			if err := os.WriteFile(before, []byte("before"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(dir, "dir"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
				t.Fatal(err)
			}
			if tt.bad.Name == "" {
				tt.bad.Name = "b"
			}
			text := s.fails(dir, good, tt.bad)
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("error = %s, want %s", text, want)
				}
			}
			s.has(before, "before")
			if got := names(t, dir); len(got) != 2 || len(names(t, outside)) != 0 {
				t.Errorf("the directory has %v", got)
			}
		})
	}
	t.Run("denied", func(t *testing.T) {
		set := s.set(t.TempDir(), files.File{ValueFrom: s.arn, Name: "b"}, files.File{ValueFrom: "s3://shop/tls/key.pem", Name: "c"})
		set.Config = s.Role(t, "other", malotetest.Allow("*", "ssm:GetParameters"))
		err := set.Write(t.Context())
		for _, want := range []string{"b: valueFrom: ", "secretsmanager:GetSecretValue", "c: valueFrom: s3://shop/tls/key.pem: AccessDenied"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error = %v, want %s", err, want)
			}
		}
	})
}

func TestOwnerAndMode(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("giving a file away is root's")
	}
	s := newShop(t)
	dir := t.TempDir()
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "given")); err != nil { // is replaced, not followed
		t.Fatal(err)
	}
	err := s.set(dir,
		files.File{ValueFrom: "/shop/key", Name: "plain"},
		files.File{ValueFrom: "/shop/key", Name: "given", Owner: "1234", Group: "4321", Mode: "0440"},
		files.File{ValueFrom: "/shop/key", Name: "named", Owner: "daemon", Group: "daemon", Mode: "666"},
	).Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.has(target, "")
	for name, want := range map[string]string{"plain": "0:0 -r--------", "given": "1234:4321 -r--r-----", "named": "1:1 -rw-rw-rw-"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		stat := info.Sys().(*syscall.Stat_t)
		if got := strconv.Itoa(int(stat.Uid)) + ":" + strconv.Itoa(int(stat.Gid)) + " " + info.Mode().String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestADirectoryThatIsFull(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting is root's")
	}
	s := newShop(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	small := files.File{ValueFrom: "/shop/key", Name: "a"}
	if err := s.set(dir, small).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.upload(strings.Repeat(s.object, 1000))
	s.put("/shop/key", "another")
	text := s.fails(dir, small, files.File{ValueFrom: "s3://shop/tls/key.pem", Name: "b"})
	if !strings.Contains(text, "b: file: the directory has no room for its 36000 bytes: no space left on device") {
		t.Errorf("error = %s", text)
	}
	s.has(filepath.Join(dir, "a"), s.key)
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the directory has %v", got)
	}
}
