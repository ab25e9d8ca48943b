package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// images builds the three images from nothing but one static binary. The mailer's is in
// the private registry alone.
func (s *shop) images(ctx context.Context) error {
	program := filepath.Join(s.temp, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./program")
	build.Dir, build.Env = s.folder, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the shop's program: %w\n%s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	for _, image := range []struct{ name, command string }{
		{"shop/sidecar", `CMD ["/program", "sidecar"]`},
		{"shop/app", `ENTRYPOINT ["/program", "app"]`},
		{s.registry.address + "/shop/mailer", `ENTRYPOINT ["/program", "mailer"]`},
	} {
		if err := importImage(ctx, image.name, image.command, binary); err != nil {
			return err
		}
	}
	return s.registry.push(ctx, s.temp, s.registry.address+"/shop/mailer")
}

func importImage(ctx context.Context, name, command string, binary []byte) error {
	var image bytes.Buffer
	writer := tar.NewWriter(&image)
	for _, dir := range []string{"tmp/", "run/", "run/secrets/"} {
		if err := writer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := writer.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		return err
	}
	if _, err := writer.Write(binary); err != nil {
		return err
	}
	if err := writer.Close(); err != nil {
		return err
	}
	load := exec.CommandContext(ctx, "docker", "import", "--change", command, "-", name)
	load.Stdin = &image
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import %s: %w\n%s", name, err, out)
	}
	return nil
}

func (s *shop) removeImages() {
	exec.Command("docker", "image", "rm", "--force", "shop/sidecar", "shop/app", s.registry.address+"/shop/mailer").Run()
}

// containers are the task's, by their name in the task definition.
func (s *shop) containers(ctx context.Context, taskARN string) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, "docker", "ps", "--all", "--filter", "label=com.amazonaws.ecs.task-arn="+taskARN,
		"--format", `{{.ID}} {{.Label "com.amazonaws.ecs.container-name"}}`).Output()
	if err != nil {
		return nil, fmt.Errorf("docker ps: %w", err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if id, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			found[name] = id
		}
	}
	return found, nil
}

// sweep looks for every secret wherever Docker and malote keep or say anything.
func (s *shop) sweep(ctx context.Context, when string) error {
	s.say("the sweep, %s: each secret in plain, base64 and hex", when)
	total := 0
	check := func(where string, look func() (int, error)) error {
		n, err := look()
		if err != nil {
			return fmt.Errorf("sweeping %s: %w", where, err)
		}
		fmt.Fprintf(s.out, "%-44s %d hits\n", where, n)
		total += n
		return nil
	}
	dir := func(path string) func() (int, error) {
		return func() (int, error) {
			hits, err := s.canaries.Dir(path)
			for _, hit := range hits {
				fmt.Fprintln(s.out, "   ", hit)
			}
			return len(hits), err
		}
	}
	output := func(name string, args ...string) func() (int, error) {
		return func() (int, error) {
			out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
			hits := s.canaries.Bytes(name, out)
			for _, hit := range hits {
				fmt.Fprintln(s.out, "   ", hit)
			}
			return len(hits), err
		}
	}
	root, err := exec.CommandContext(ctx, "docker", "info", "--format", "{{.DockerRootDir}}").Output()
	if err != nil {
		return fmt.Errorf("docker info: %w", err)
	}
	for _, place := range []struct {
		where string
		look  func() (int, error)
	}{
		{"malote's data directory", dir(filepath.Join(s.temp, "data"))},
		{"malote's own log, at debug", dir(s.log.Name())},
		{"Docker's whole directory", dir(strings.TrimSpace(string(root)))},
		{"docker inspect of everything", func() (int, error) { return s.inspect(ctx, output) }},
		{"every process's arguments", func() (int, error) { return len(s.canaries.Arguments()), nil }},
	} {
		if err := check(place.where, place.look); err != nil {
			return err
		}
	}
	if total > 0 {
		return fmt.Errorf("%d hits: a secret leaked", total)
	}
	return nil
}

// inspect looks through docker inspect of every object and every container's log.
func (s *shop) inspect(ctx context.Context, output func(string, ...string) func() (int, error)) (int, error) {
	total := 0
	for _, list := range [][]string{{"ps", "-aq"}, {"image", "ls", "-q"}, {"network", "ls", "-q"}, {"volume", "ls", "-q"}} {
		ids, err := exec.CommandContext(ctx, "docker", list...).Output()
		if err != nil {
			return total, err
		}
		for _, id := range strings.Fields(string(ids)) {
			n, err := output("docker", "inspect", id)()
			if err != nil {
				continue // it went between the list and the look
			}
			total += n
			if list[0] == "ps" {
				n, _ = output("docker", "logs", id)() // not every log driver can be read
				total += n
			}
		}
	}
	return total, nil
}

// dockerConfig writes a login for one address that dies with the temporary directory.
func dockerConfig(temp string) string { return filepath.Join(temp, "docker-config") }

// push sends an image to the private registry and removes it here, so that whoever runs
// it has to log in.
func (r *registry) push(ctx context.Context, temp, image string) error {
	config := dockerConfig(temp)
	defer os.RemoveAll(config)
	login := exec.CommandContext(ctx, "docker", "--config", config, "login", "--username", "shop", "--password-stdin", r.address)
	login.Stdin = strings.NewReader(r.password)
	if out, err := login.CombinedOutput(); err != nil {
		return fmt.Errorf("docker login: %w\n%s", err, out)
	}
	if out, err := exec.CommandContext(ctx, "docker", "--config", config, "push", image).CombinedOutput(); err != nil {
		return fmt.Errorf("docker push: %w\n%s", err, out)
	}
	return exec.CommandContext(ctx, "docker", "image", "rm", image).Run()
}

// decode reads one JSON document of bounded size.
func decode(r io.Reader, into any) error {
	return json.NewDecoder(io.LimitReader(r, 1<<20)).Decode(into)
}
