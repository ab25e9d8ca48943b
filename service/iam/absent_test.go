package iam_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/malote/malote/malotetest"
)

// What nobody has here is an empty list, to whoever may ask.
func TestAbsent(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	certificates := ok(admin.ListServerCertificates(ctx, &iam.ListServerCertificatesInput{}))(t)
	devices := ok(admin.ListVirtualMFADevices(ctx, &iam.ListVirtualMFADevicesInput{}))(t)
	if certificates.ServerCertificateMetadataList == nil || devices.VirtualMFADevices == nil || len(certificates.ServerCertificateMetadataList)+len(devices.VirtualMFADevices) != 0 || certificates.IsTruncated {
		t.Errorf("certificates %+v, devices %+v, want empty lists", certificates, devices)
	}
	_, err := admin.ListServerCertificates(ctx, &iam.ListServerCertificatesInput{Marker: aws.String("?")})
	wantError(t, err, "ValidationError", "Invalid Marker.")
	for _, name := range []*string{nil, aws.String("admin")} {
		if keys := ok(admin.ListSSHPublicKeys(ctx, &iam.ListSSHPublicKeysInput{UserName: name}))(t).SSHPublicKeys; len(keys) != 0 {
			t.Errorf("SSH keys = %+v", keys)
		}
	}
	_, err = admin.ListSigningCertificates(ctx, &iam.ListSigningCertificatesInput{UserName: aws.String("nobody")})
	wantError(t, err, "NoSuchEntity", "The user with name nobody cannot be found.")
	_, err = admin.GetLoginProfile(ctx, &iam.GetLoginProfileInput{UserName: aws.String("admin")})
	wantError(t, err, "NoSuchEntity", "Login Profile for User admin cannot be found.")
	bob := iam.NewFromConfig(sys.User(t, "bob", ""))
	_, err = bob.ListServerCertificates(ctx, &iam.ListServerCertificatesInput{})
	wantError(t, err, "AccessDenied", denial("bob", "iam:ListServerCertificates", accountARN+"server-certificate/"))
}
