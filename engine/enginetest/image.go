package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Image is what a Dockerfile would say. Its zero value is a scratch image
// with the program at /app and neither entrypoint nor command.
type Image struct {
	Ref         string // a name of its own when empty
	Entrypoint  []string
	Cmd         []string
	User        string
	WorkingDir  string
	Env         []string // PATH has no default here: Docker supplies one
	Healthcheck *dockerspec.HealthcheckConfig
	StopSignal  string
	Volumes     []string
	Labels      map[string]string
	Files       []File
	Shell       bool // the program is /bin/sh too
	SDK         bool // with /aws
	Router      bool // with /router
}

// A File is put into an image. A Mode with fs.ModeDir makes a directory.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode // 0644 when zero
	UID     int
	GID     int
}

// Program returns the content of the program, so that a test can place it elsewhere.
func Program(t testing.TB) []byte {
	t.Helper()
	return compiled(t, "program")
}

// Build loads the image into Docker, removes it when the test ends, and returns its reference.
func Build(t testing.TB, docker *client.Client, image Image) string {
	t.Helper()
	ref := image.Ref
	if ref == "" {
		ref = Name(t) + ":latest"
	}
	loaded, err := docker.ImageLoad(t.Context(), bytes.NewReader(image.archive(t, ref)))
	if err != nil {
		t.Fatalf("loading image %s: %v", ref, err)
	}
	defer loaded.Close()
	answer, err := io.ReadAll(loaded)
	if err != nil || !bytes.Contains(answer, []byte("Loaded image")) {
		t.Fatalf("loading image %s: %s %v", ref, answer, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		docker.ImageRemove(ctx, ref, client.ImageRemoveOptions{Force: true, PruneChildren: true})
	})
	return ref
}

// Archive returns the image as "docker save" would write it, to be loaded or
// pushed by other means.
func (image Image) Archive(t testing.TB, ref string) []byte {
	t.Helper()
	return image.archive(t, ref)
}

func (image Image) archive(t testing.TB, ref string) []byte {
	base := []File{
		{Path: "/tmp", Mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{Path: "/etc/passwd", Content: []byte("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n")},
		{Path: "/etc/group", Content: []byte("root:x:0:\napp:x:1000:\n")},
		{Path: "/app", Content: Program(t), Mode: 0o755},
	}
	if image.Shell {
		base = append(base, File{Path: "/bin/sh", Content: Program(t), Mode: 0o755})
	}
	if image.SDK {
		base = append(base, File{Path: "/aws", Content: compiled(t, "awsprogram"), Mode: 0o755})
	}
	if image.Router {
		base = append(base, File{Path: "/router", Content: compiled(t, "routerprogram"), Mode: 0o755})
	}
	// The programs go into a layer of their own, which Docker then keeps once.
	layers := [][]byte{layer(t, base)}
	if len(image.Files) > 0 {
		layers = append(layers, layer(t, image.Files))
	}

	config := dockerspec.DockerOCIImage{}
	config.Created = new(time.Unix(0, 0).UTC())
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Author = ref // Docker knows images by what is in them: nobody else's is the same, and removed meanwhile
	config.Config = dockerspec.DockerOCIImageConfig{ImageConfig: ocispec.ImageConfig{
		Entrypoint: image.Entrypoint, Cmd: image.Cmd, User: image.User, WorkingDir: image.WorkingDir,
		Env: image.Env, StopSignal: image.StopSignal, Labels: image.Labels,
	}}
	config.Config.Healthcheck = image.Healthcheck
	for _, volume := range image.Volumes {
		if config.Config.Volumes == nil {
			config.Config.Volumes = map[string]struct{}{}
		}
		config.Config.Volumes[volume] = struct{}{}
	}

	type manifest struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	entry := manifest{RepoTags: []string{ref}}
	files := []File{}
	var diffs []string
	for _, content := range layers {
		sum := sha256.Sum256(content)
		name := hex.EncodeToString(sum[:])
		diffs = append(diffs, "sha256:"+name)
		files = append(files, File{Path: name + "/layer.tar", Content: content})
		entry.Layers = append(entry.Layers, name+"/layer.tar")
	}
	raw := mustJSON(t, config)
	var whole map[string]any
	if err := json.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	whole["rootfs"] = map[string]any{"type": "layers", "diff_ids": diffs}
	raw = mustJSON(t, whole)
	sum := sha256.Sum256(raw)
	entry.Config = hex.EncodeToString(sum[:]) + ".json"
	files = append(files, File{Path: entry.Config, Content: raw}, File{Path: "manifest.json", Content: mustJSON(t, []manifest{entry})})
	return layer(t, files)
}

// layer is a tar with the missing parent directories added, the same bytes for the same files.
func layer(t testing.TB, files []File) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	made := map[string]bool{".": true}
	for _, file := range files {
		if file.Mode.IsDir() {
			made[strings.Trim(file.Path, "/")] = true
		}
	}
	var parents func(dir string)
	parents = func(dir string) {
		if made[dir] {
			return
		}
		made[dir] = true
		parents(path.Dir(dir))
		write(t, w, &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, nil)
	}
	for _, file := range files {
		name := strings.Trim(file.Path, "/")
		parents(path.Dir(name))
		header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(file.Mode.Perm()), Size: int64(len(file.Content)), Uid: file.UID, Gid: file.GID}
		if file.Mode == 0 {
			header.Mode = 0o644
		}
		if file.Mode.IsDir() {
			header.Typeflag, header.Name = tar.TypeDir, name+"/"
			if file.Mode&fs.ModeSticky != 0 {
				header.Mode |= 0o1000
			}
		}
		write(t, w, header, file.Content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func write(t testing.TB, w *tar.Writer, header *tar.Header, content []byte) {
	t.Helper()
	header.Format = tar.FormatPAX
	header.ModTime = time.Unix(0, 0)
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// programs are compiled once in a process.
var programs sync.Map // package name to func() ([]byte, error)

func compiled(t testing.TB, name string) []byte {
	t.Helper()
	once, _ := programs.LoadOrStore(name, sync.OnceValues(func() ([]byte, error) {
		return Compile("github.com/malote/malote/engine/enginetest/" + name)
	}))
	content, err := once.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// Compile builds a main package of this module as a static, stripped executable.
func Compile(pkg string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "malote-compile-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "program")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if message, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building %s: %w\n%s", pkg, err, message)
	}
	return os.ReadFile(out)
}
