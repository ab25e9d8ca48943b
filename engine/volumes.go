package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/engine/docker"
	"github.com/malote/malote/engine/volume"
)

const (
	labelVolume = "malote.volume" // its name in the task definition
	lookName    = "~internal~malote~look"
)

// prepareVolume makes a volume and returns what to bind for it: a path or the name of a
// Docker volume.
func (t *task) prepareVolume(v types.Volume) (string, error) {
	switch {
	case v.EfsVolumeConfiguration != nil:
		return "", errors.New("malote's engine does not support efsVolumeConfiguration")
	case v.FsxWindowsFileServerVolumeConfiguration != nil:
		return "", errors.New("malote's engine does not support fsxWindowsFileServerVolumeConfiguration")
	case v.S3filesVolumeConfiguration != nil:
		return "", errors.New("malote's engine does not support s3filesVolumeConfiguration")
	case aws.ToBool(v.ConfiguredAtLaunch):
		return t.launchVolume(aws.ToString(v.Name))
	case v.Host != nil && aws.ToString(v.Host.SourcePath) != "":
		if !filepath.IsAbs(*v.Host.SourcePath) {
			return "", fmt.Errorf("host.sourcePath %q is not absolute", *v.Host.SourcePath)
		}
		return *v.Host.SourcePath, nil
	case v.DockerVolumeConfiguration != nil && v.DockerVolumeConfiguration.Scope == types.ScopeShared:
		return t.sharedVolume(aws.ToString(v.Name), v.DockerVolumeConfiguration)
	}
	if size := ephemeralStorage(t.work); size > 0 && v.DockerVolumeConfiguration == nil {
		return t.diskVolume(aws.ToString(v.Name), ephemeral, size, t.ephemeralKey())
	}
	return t.taskVolume(aws.ToString(v.Name), v.DockerVolumeConfiguration)
}

// owns notes that a volume is a directory of the engine's.
func (t *task) owns(volume string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.owned[volume] = true
}

func (t *task) sharedVolume(name string, c *types.DockerVolumeConfiguration) (string, error) {
	_, err := t.engine.docker.Volume(t.effort, name)
	switch {
	case err == nil:
		return name, nil
	case !docker.IsNotFound(err):
		return "", err
	case !aws.ToBool(c.Autoprovision):
		return "", fmt.Errorf("initialize volume: volume detection failed, volume '%s' does not exist and autoprovision is set to false", name)
	}
	return name, t.engine.docker.CreateVolume(t.effort, docker.Volume{Name: name, Driver: aws.ToString(c.Driver), Options: c.DriverOpts, Labels: c.Labels})
}

// taskVolume makes a volume that lives as long as the task. Unless its driver or its
// options name another place, that is a directory on a tmpfs of the engine's, bound as it is:
// through a volume of Docker's it would be mounted below Docker's data directory, and be in
// every backup of that.
func (t *task) taskVolume(name string, c *types.DockerVolumeConfiguration) (string, error) {
	e := t.engine
	if c == nil {
		c = &types.DockerVolumeConfiguration{}
	}
	if aws.ToBool(c.Autoprovision) {
		return "", fmt.Errorf("volume [%s] : task scoped volume could not be autoprovisioned", name)
	}
	driver := aws.ToString(c.Driver)
	if (driver == "" || driver == "local") && (len(c.DriverOpts) == 0 || c.DriverOpts["type"] == "tmpfs") {
		if len(c.Labels) > 0 {
			return "", errors.New("dockerVolumeConfiguration.labels: a volume in memory is none of Docker's and has no labels")
		}
		var options volume.Options
		if err := tmpfsOptions(c.DriverOpts, &options); err != nil {
			return "", err
		}
		dir, err := e.volumes.Create(taskID(t.work.ARN), name, options)
		if err != nil {
			return "", err
		}
		t.owns(name)
		return dir, nil
	}

	made, err := e.docker.Volumes(t.effort, map[string]string{labelEngine: e.Name, labelTask: t.work.ARN, labelVolume: name})
	if err != nil {
		return "", err
	}
	if len(made) > 0 {
		return made[0].Name, nil
	}
	want := docker.Volume{Name: dockerName(t.work, name), Driver: driver, Options: c.DriverOpts, Labels: map[string]string{}}
	for k, v := range c.Labels {
		want.Labels[k] = v
	}
	want.Labels[labelEngine], want.Labels[labelTask], want.Labels[labelVolume] = e.Name, t.work.ARN, name
	return want.Name, e.docker.CreateVolume(t.effort, want)
}

// tmpfsOptions reads what a local driver's "o" says of a tmpfs.
func tmpfsOptions(opts map[string]string, out *volume.Options) error {
	for k := range opts {
		if k != "type" && k != "device" && k != "o" {
			return fmt.Errorf("driverOpts has %q, which the local driver does not know", k)
		}
	}
	for o := range strings.SplitSeq(opts["o"], ",") {
		k, v, _ := strings.Cut(o, "=")
		var err error
		switch k {
		case "", "rw", "nosuid", "nodev", "noswap":
		case "size":
			out.Size = v
		case "mode":
			var mode uint32
			_, err = fmt.Sscanf(v, "%o", &mode)
			out.Mode = fs.FileMode(mode & 0o777)
			if mode&0o1000 != 0 {
				out.Mode |= fs.ModeSticky
			}
		case "uid":
			_, err = fmt.Sscanf(v, "%d", &out.UID)
		case "gid":
			_, err = fmt.Sscanf(v, "%d", &out.GID)
		default:
			return fmt.Errorf("driverOpts asks for the tmpfs option %q, which task volumes do not have", o)
		}
		if err != nil {
			return fmt.Errorf("driverOpts: the tmpfs option %q is malformed", o)
		}
	}
	return nil
}

// fillVolumes does for the engine's volumes what Docker does for its own: one that is still
// empty when a container is created gets what the image has at the mount point.
func (t *task) fillVolumes(ctx context.Context, def types.ContainerDefinition, image *docker.Image) (err error) {
	e := t.engine
	t.filling.Lock() // one container after the other
	defer t.filling.Unlock()
	id := "" // of a container of the image that nothing is mounted in
	defer func() {
		if id != "" {
			err = errors.Join(err, e.docker.Remove(context.WithoutCancel(ctx), id))
		}
	}()
	for _, m := range def.MountPoints {
		name, path := aws.ToString(m.SourceVolume), aws.ToString(m.ContainerPath)
		t.mu.Lock()
		owned := t.owned[name]
		t.mu.Unlock()
		known := image.ID + path
		e.mu.Lock()
		nothing := e.nothingAt[known]
		e.mu.Unlock()
		if !owned || nothing {
			continue
		}
		err := e.volumes.Fill(taskID(t.work.ARN), name, func() (io.ReadCloser, error) {
			if id == "" {
				var err error
				if id, err = e.docker.Create(ctx, docker.Spec{
					Name: dockerName(t.work, lookName), Image: image.ID, Labels: labels(t.work, lookName, e.Name),
					Entrypoint: []string{"/never/started"}, Network: "none", LogDriver: "none",
				}); err != nil {
					return nil, fmt.Errorf("looking at what image %s has at %s: %w", aws.ToString(def.Image), path, err)
				}
			}
			in, err := e.docker.Directory(ctx, id, path)
			if docker.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "not a directory") {
				// Where the image has a file Docker will say what is wrong.
				e.mu.Lock()
				e.nothingAt[known] = true
				e.mu.Unlock()
				return nil, nil
			}
			return in, err
		})
		if err != nil {
			return fmt.Errorf("volume %s: %w", name, err)
		}
	}
	return nil
}
