package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// These answer about what nobody has here, because no operation makes one: console
// passwords, MFA devices, signing and server certificates and service-specific credentials.
// Tools ask for them before they delete a user, or audit an account. Filters and the size of
// a page leave none of nothing.

// none answers for a user that exists, to a caller who may ask.
func (s *Service) none(ctx context.Context, action string, userName, marker *string) error {
	name, err := self(ctx, userName)
	if err != nil {
		return err
	}
	return s.read(ctx, directory.KindUser, name, &authz.Access{Action: action}, func(*directory.Tx, *subject) error {
		_, err := after(marker)
		return err
	})
}

// noneOfAny answers for all users at once, to a caller who may ask.
func (s *Service) noneOfAny(ctx context.Context, access *authz.Access, marker *string) error {
	if err := s.authorize(ctx, access); err != nil {
		return err
	}
	_, err := after(marker)
	return err
}

func (s *Service) ListMFADevices(ctx context.Context, in *iam.ListMFADevicesInput) (*iam.ListMFADevicesOutput, error) {
	if err := s.none(ctx, "iam:ListMFADevices", in.UserName, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListMFADevicesOutput{MFADevices: []types.MFADevice{}}, nil
}

func (s *Service) ListSSHPublicKeys(ctx context.Context, in *iam.ListSSHPublicKeysInput) (*iam.ListSSHPublicKeysOutput, error) {
	if err := s.none(ctx, "iam:ListSSHPublicKeys", in.UserName, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListSSHPublicKeysOutput{SSHPublicKeys: []types.SSHPublicKeyMetadata{}}, nil
}

func (s *Service) ListSigningCertificates(ctx context.Context, in *iam.ListSigningCertificatesInput) (*iam.ListSigningCertificatesOutput, error) {
	if err := s.none(ctx, "iam:ListSigningCertificates", in.UserName, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListSigningCertificatesOutput{Certificates: []types.SigningCertificate{}}, nil
}

func (s *Service) ListServiceSpecificCredentials(ctx context.Context, in *iam.ListServiceSpecificCredentialsInput) (*iam.ListServiceSpecificCredentialsOutput, error) {
	if in.AllUsers != nil && *in.AllUsers {
		if in.UserName != nil {
			return nil, invalidInput("UserName and AllUsers cannot be used together.")
		}
		if err := s.noneOfAny(ctx, &authz.Access{Action: "iam:ListServiceSpecificCredentials", Resource: "*"}, in.Marker); err != nil {
			return nil, err
		}
	} else if err := s.none(ctx, "iam:ListServiceSpecificCredentials", in.UserName, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListServiceSpecificCredentialsOutput{ServiceSpecificCredentials: []types.ServiceSpecificCredentialMetadata{}}, nil
}

func (s *Service) ListVirtualMFADevices(ctx context.Context, in *iam.ListVirtualMFADevicesInput) (*iam.ListVirtualMFADevicesOutput, error) {
	if err := s.noneOfAny(ctx, &authz.Access{Action: "iam:ListVirtualMFADevices", Resource: "arn:aws:iam::" + account(ctx) + ":mfa/*"}, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListVirtualMFADevicesOutput{VirtualMFADevices: []types.VirtualMFADevice{}}, nil
}

func (s *Service) ListServerCertificates(ctx context.Context, in *iam.ListServerCertificatesInput) (*iam.ListServerCertificatesOutput, error) {
	path := "/"
	if in.PathPrefix != nil {
		path = *in.PathPrefix
	}
	access := &authz.Access{Action: "iam:ListServerCertificates", Resource: "arn:aws:iam::" + account(ctx) + ":server-certificate" + path}
	if err := s.noneOfAny(ctx, access, in.Marker); err != nil {
		return nil, err
	}
	return &iam.ListServerCertificatesOutput{ServerCertificateMetadataList: []types.ServerCertificateMetadata{}}, nil
}

func (s *Service) GetLoginProfile(ctx context.Context, in *iam.GetLoginProfileInput) (*iam.GetLoginProfileOutput, error) {
	return nil, s.noLoginProfile(ctx, "iam:GetLoginProfile", in.UserName)
}

func (s *Service) DeleteLoginProfile(ctx context.Context, in *iam.DeleteLoginProfileInput) (*iam.DeleteLoginProfileOutput, error) {
	return nil, s.noLoginProfile(ctx, "iam:DeleteLoginProfile", in.UserName)
}

func (s *Service) noLoginProfile(ctx context.Context, action string, userName *string) error {
	name, err := self(ctx, userName)
	if err != nil {
		return err
	}
	if err := s.read(ctx, directory.KindUser, name, &authz.Access{Action: action}, func(*directory.Tx, *subject) error { return nil }); err != nil {
		return err
	}
	return noSuchEntity("Login Profile for User %s cannot be found.", name)
}
