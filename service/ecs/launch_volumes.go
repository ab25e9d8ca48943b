package ecs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
)

const maxVolumeGiB = 16384 // of gp2 and gp3

// volumesOfTask is what RunTask and StartTask say of volumes, as services say it. What they
// alone can say is what malote does with every volume, or refused.
func volumesOfTask(given []types.TaskVolumeConfiguration) ([]types.ServiceVolumeConfiguration, error) {
	var out []types.ServiceVolumeConfiguration
	for _, v := range given {
		c := types.ServiceVolumeConfiguration{Name: v.Name}
		if e := v.ManagedEBSVolume; e != nil {
			if p := e.TerminationPolicy; p != nil && !aws.ToBool(p.DeleteOnTermination) {
				return nil, unsupported("volumeConfigurations.managedEBSVolume.terminationPolicy.deleteOnTermination: false")
			}
			c.ManagedEBSVolume = &types.ServiceManagedEBSVolumeConfiguration{
				RoleArn: e.RoleArn, Encrypted: e.Encrypted, FilesystemType: e.FilesystemType, Iops: e.Iops, KmsKeyId: e.KmsKeyId, SizeInGiB: e.SizeInGiB,
				SnapshotId: e.SnapshotId, TagSpecifications: e.TagSpecifications, Throughput: e.Throughput,
				VolumeInitializationRate: e.VolumeInitializationRate, VolumeType: e.VolumeType,
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// passVolumeRoles asks whether the caller may give ECS the roles that make volumes.
func (s *Service) passVolumeRoles(ctx context.Context, given []types.ServiceVolumeConfiguration) error {
	for _, v := range given {
		if v.ManagedEBSVolume == nil {
			continue
		}
		role := aws.ToString(v.ManagedEBSVolume.RoleArn)
		if err := s.passRole(ctx, role, infrastructurePrincipal); err != nil {
			return err
		}
		if !scopeOf(ctx).ownRole(role) {
			return clientError("Role is not valid")
		}
	}
	return nil
}

// configuredAtLaunch is the name of the volume of d that a launch has to speak of; "" for none.
func configuredAtLaunch(d *types.TaskDefinition) string {
	for _, v := range d.Volumes {
		if aws.ToBool(v.ConfiguredAtLaunch) {
			return aws.ToString(v.Name)
		}
	}
	return ""
}

// validateLaunchVolumes checks what a launch says of the volumes of d.
func validateLaunchVolumes(d *types.TaskDefinition, given []types.ServiceVolumeConfiguration) error {
	want := configuredAtLaunch(d)
	for _, v := range given {
		if aws.ToString(v.Name) != want || want == "" {
			return invalidParameter("Volume configuration provided but no matching configuredAtLaunch volume found in task definition.")
		}
	}
	switch {
	case want == "":
		return nil
	case len(given) == 0:
		return invalidParameter("The task definition has the configuredAtLaunch volume '%s', for which there is no volume configuration.", want)
	case len(given) > 1:
		return invalidParameter("volumeConfigurations can have at most 1 item.")
	case given[0].ManagedEBSVolume == nil:
		return invalidParameter("The volume configuration of '%s' must have managedEBSVolume.", want)
	}
	return validateManagedVolume(given[0].ManagedEBSVolume)
}

func validateManagedVolume(e *types.ServiceManagedEBSVolumeConfiguration) error {
	const at = "volumeConfigurations.managedEBSVolume."
	switch {
	case e.Encrypted != nil && !*e.Encrypted:
		return unsupported(at + "encrypted: false")
	case e.SnapshotId != nil:
		return unsupported(at + "snapshotId")
	case e.Iops != nil:
		return unsupported(at + "iops")
	case e.Throughput != nil:
		return unsupported(at + "throughput")
	case e.VolumeInitializationRate != nil:
		return unsupported(at + "volumeInitializationRate")
	case len(e.TagSpecifications) > 0:
		return unsupported(at + "tagSpecifications")
	case e.FilesystemType != "" && e.FilesystemType != types.TaskFilesystemTypeExt4:
		return unsupported(at + "filesystemType: " + string(e.FilesystemType))
	case e.SizeInGiB == nil:
		return invalidParameter("managedEBSVolume must have sizeInGiB or snapshotId.")
	case *e.SizeInGiB < 1 || *e.SizeInGiB > maxVolumeGiB:
		return invalidParameter("The sizeInGiB of managedEBSVolume must be between 1 and %d.", maxVolumeGiB)
	}
	if kind := aws.ToString(e.VolumeType); kind != "" && !slices.Contains([]string{"gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"}, kind) {
		return invalidParameter("Invalid volumeType: '%s'.", kind)
	}
	return nil
}

// provide gives a task that is new the volumes of its launch. The key is of those that name
// none.
func (t *task) provide(sc scope, given []types.ServiceVolumeConfiguration, key string) {
	for _, v := range given {
		e := v.ManagedEBSVolume
		volume := acs.Volume{Name: *v.Name, ID: newVolumeID(), SizeInGiB: *e.SizeInGiB, KMSKeyID: cmp.Or(aws.ToString(e.KmsKeyId), key)}
		t.Volumes, t.InfrastructureRole = append(t.Volumes, volume), sc.roleARN(aws.ToString(e.RoleArn))
		a := types.Attachment{Id: aws.String(newUUID()), Type: aws.String("AmazonElasticBlockStorage"), Status: aws.String("PRECREATED")}
		for _, d := range [][2]string{
			{"volumeId", volume.ID}, {"volumeName", volume.Name}, {"sizeInGiB", strconv.Itoa(int(volume.SizeInGiB))}, {"roleArn", t.InfrastructureRole},
			{"encrypted", "true"}, {"kmsKeyId", volume.KMSKeyID}, {"filesystemType", string(types.TaskFilesystemTypeExt4)},
			{"volumeType", aws.ToString(e.VolumeType)}, {"deleteOnTermination", "true"},
		} {
			if d[1] != "" {
				a.Details = append(a.Details, types.KeyValuePair{Name: aws.String(d[0]), Value: aws.String(d[1])})
			}
		}
		t.Task.Attachments, t.Task.LastStatus = append(t.Task.Attachments, a), aws.String("PROVISIONING")
	}
}

func newVolumeID() string {
	b := make([]byte, 9)
	rand.Read(b)
	return "vol-" + hex.EncodeToString(b)[:17]
}
