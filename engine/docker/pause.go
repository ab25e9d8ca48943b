package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"runtime"
)

// PauseImage is the image of the container that holds a task's shared namespaces. It
// is built here, from nothing, and never pulled.
const PauseImage = "malote/pause:1"

// EnsurePause makes PauseImage unless it is there.
func (c *Client) EnsurePause(ctx context.Context) error {
	if _, err := c.Image(ctx, PauseImage); err == nil || !IsNotFound(err) {
		return err
	}
	image, err := pauseImage(runtime.GOARCH)
	if err != nil {
		return err
	}
	return c.Load(ctx, bytes.NewReader(image))
}

// pauseCode ignores SIGCHLD, so that the kernel reaps for it where it is process 1 of a
// shared namespace, and then sleeps for ever:
//
//	rt_sigaction(SIGCHLD, {SIG_IGN, SA_NOCLDWAIT}, NULL, 8); for (;;) pause();
var pauseCode = map[string]struct {
	machine uint16
	code    []byte
}{
	"amd64": {62, []byte{
		0xb8, 13, 0, 0, 0, // mov eax, rt_sigaction
		0xbf, 17, 0, 0, 0, // mov edi, SIGCHLD
		0x48, 0x8d, 0x35, 0x17, 0, 0, 0, // lea rsi, [rip+action]
		0x31, 0xd2, // xor edx, edx
		0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
		0x0f, 0x05, // syscall
		0xb8, 34, 0, 0, 0, // mov eax, pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp back to mov eax, pause
		0, 0, 0, 0,
	}},
	"arm64": {183, []byte{
		0xc8, 0x10, 0x80, 0xd2, // mov x8, rt_sigaction
		0x20, 0x02, 0x80, 0xd2, // mov x0, SIGCHLD
		0x81, 0x01, 0x00, 0x10, // adr x1, action
		0xe2, 0x03, 0x1f, 0xaa, // mov x2, xzr
		0xe3, 0x03, 0x7d, 0xb2, // mov x3, 8
		0x01, 0x00, 0x00, 0xd4, // svc 0
		0x28, 0x09, 0x80, 0xd2, // mov x8, ppoll
		0xe0, 0x03, 0x1f, 0xaa, // mov x0..x4, xzr
		0xe1, 0x03, 0x1f, 0xaa,
		0xe2, 0x03, 0x1f, 0xaa,
		0xe3, 0x03, 0x1f, 0xaa,
		0xe4, 0x03, 0x1f, 0xaa,
		0x01, 0x00, 0x00, 0xd4, // svc 0
		0xf9, 0xff, 0xff, 0x17, // b back to mov x8, ppoll
	}},
}

// pauseBinary is a whole ELF file of one read-only segment.
func pauseBinary(arch string) ([]byte, error) {
	p, ok := pauseCode[arch]
	if !ok {
		return nil, fmt.Errorf("no pause program is known for %s", arch)
	}
	const base, header = 0x400000, 64 + 56
	var action [32]byte // struct sigaction of the kernel
	action[0] = 1       // SIG_IGN
	action[8] = 2       // SA_NOCLDWAIT
	size := uint64(header + len(p.code) + len(action))
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, field := range []any{
		uint16(2), p.machine, uint32(1), uint64(base + header), uint64(64), uint64(0), uint32(0),
		uint16(64), uint16(56), uint16(1), uint16(0), uint16(0), uint16(0), // the ELF header
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x10000), // its segment
	} {
		if err := binary.Write(&b, binary.LittleEndian, field); err != nil {
			return nil, err
		}
	}
	b.Write(p.code)
	b.Write(action[:])
	return b.Bytes(), nil
}

func pauseImage(arch string) ([]byte, error) {
	binary, err := pauseBinary(arch)
	if err != nil {
		return nil, err
	}
	layer, err := tarball(file{"pause", 0o755, binary})
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/pause"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{PauseImage}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	return tarball(file{"layer.tar", 0o644, layer}, file{"config.json", 0o644, config}, file{"manifest.json", 0o644, manifest})
}

type file struct {
	name string
	mode int64
	data []byte
}

func tarball(files ...file) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
