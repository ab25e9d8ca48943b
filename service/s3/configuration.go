package s3

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/store"
)

// PutBucketVersioning turns versioning on, or suspends it. It is never off again.
func (s *Service) PutBucketVersioning(ctx context.Context, in *s3.PutBucketVersioningInput) (*s3.PutBucketVersioningOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutBucketVersioning"}, func(b *bucket) error {
		c := in.VersioningConfiguration
		switch {
		case in.MFA != nil || c.MFADelete == types.MFADeleteEnabled:
			return notImplemented("MfaDelete")
		case c.Status != types.BucketVersioningStatusEnabled && c.Status != types.BucketVersioningStatusSuspended:
			return bad("IllegalVersioningConfigurationException", "The Versioning element must be specified")
		}
		b.Versioning = c.Status
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.PutBucketVersioningOutput{}, nil
}

// GetBucketVersioning says whether versioning is on or suspended; nothing where it never
// was on.
func (s *Service) GetBucketVersioning(ctx context.Context, in *s3.GetBucketVersioningInput) (*s3.GetBucketVersioningOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetBucketVersioning"})
	if err != nil {
		return nil, err
	}
	return &s3.GetBucketVersioningOutput{Status: b.Versioning}, nil
}

// PutBucketEncryption says what new objects get that ask for nothing else. Whether there is
// such a key shows when one is written, as on AWS.
func (s *Service) PutBucketEncryption(ctx context.Context, in *s3.PutBucketEncryptionInput) (*s3.PutBucketEncryptionOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutEncryptionConfiguration"}, func(b *bucket) error {
		rules := in.ServerSideEncryptionConfiguration.Rules
		if len(rules) != 1 {
			return malformedXML()
		}
		rule := rules[0]
		if blocked := rule.BlockedEncryptionTypes; blocked != nil {
			for _, kind := range blocked.EncryptionType {
				switch kind {
				case types.EncryptionTypeSseC:
				default:
					return notImplemented("BlockedEncryptionTypes: SSE-C cannot be unblocked here")
				}
			}
		}
		by := rule.ApplyServerSideEncryptionByDefault
		if by == nil {
			b.Encryption.BucketKey = aws.ToBool(rule.BucketKeyEnabled)
			return nil
		}
		switch by.SSEAlgorithm {
		case types.ServerSideEncryptionAes256:
			if by.KMSMasterKeyID != nil {
				return invalidArgument("ApplyServerSideEncryptionByDefault", "", "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse")
			}
		case types.ServerSideEncryptionAwsKms, types.ServerSideEncryptionAwsKmsDsse:
		default:
			return malformedXML()
		}
		b.Encryption = encryption{Algorithm: by.SSEAlgorithm, KeyID: aws.ToString(by.KMSMasterKeyID), BucketKey: aws.ToBool(rule.BucketKeyEnabled)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.PutBucketEncryptionOutput{}, nil
}

// GetBucketEncryption tells it: every bucket has some.
func (s *Service) GetBucketEncryption(ctx context.Context, in *s3.GetBucketEncryptionInput) (*s3.GetBucketEncryptionOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetEncryptionConfiguration"})
	if err != nil {
		return nil, err
	}
	rule := types.ServerSideEncryptionRule{
		ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{SSEAlgorithm: b.Encryption.Algorithm, KMSMasterKeyID: text(b.Encryption.KeyID)},
		BucketKeyEnabled:                   aws.Bool(b.Encryption.BucketKey),
		BlockedEncryptionTypes:             &types.BlockedEncryptionTypes{EncryptionType: []types.EncryptionType{types.EncryptionTypeSseC}},
	}
	return &s3.GetBucketEncryptionOutput{ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{Rules: []types.ServerSideEncryptionRule{rule}}}, nil
}

// DeleteBucketEncryption sets it back to what a new bucket has.
func (s *Service) DeleteBucketEncryption(ctx context.Context, in *s3.DeleteBucketEncryptionInput) (*s3.DeleteBucketEncryptionOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutEncryptionConfiguration"}, func(b *bucket) error {
		b.Encryption = encryption{Algorithm: types.ServerSideEncryptionAes256}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.DeleteBucketEncryptionOutput{}, nil
}

// PutPublicAccessBlock says what public access is kept out.
func (s *Service) PutPublicAccessBlock(ctx context.Context, in *s3.PutPublicAccessBlockInput) (*s3.PutPublicAccessBlockOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutBucketPublicAccessBlock"}, func(b *bucket) error {
		c := in.PublicAccessBlockConfiguration
		b.PublicAccess = &publicAccess{aws.ToBool(c.BlockPublicAcls), aws.ToBool(c.IgnorePublicAcls), aws.ToBool(c.BlockPublicPolicy), aws.ToBool(c.RestrictPublicBuckets)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.PutPublicAccessBlockOutput{}, nil
}

// GetPublicAccessBlock tells it.
func (s *Service) GetPublicAccessBlock(ctx context.Context, in *s3.GetPublicAccessBlockInput) (*s3.GetPublicAccessBlockOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetBucketPublicAccessBlock"})
	if err != nil {
		return nil, err
	}
	if b.PublicAccess == nil {
		return nil, missing("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found").with("BucketName", b.Name)
	}
	return &s3.GetPublicAccessBlockOutput{PublicAccessBlockConfiguration: &types.PublicAccessBlockConfiguration{
		BlockPublicAcls: &b.PublicAccess.BlockACLs, IgnorePublicAcls: &b.PublicAccess.IgnoreACLs, BlockPublicPolicy: &b.PublicAccess.BlockPolicy, RestrictPublicBuckets: &b.PublicAccess.Restrict,
	}}, nil
}

// DeletePublicAccessBlock takes it away.
func (s *Service) DeletePublicAccessBlock(ctx context.Context, in *s3.DeletePublicAccessBlockInput) (*s3.DeletePublicAccessBlockOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutBucketPublicAccessBlock"}, func(b *bucket) error {
		b.PublicAccess = nil
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.DeletePublicAccessBlockOutput{}, nil
}

// PutBucketOwnershipControls takes BucketOwnerEnforced alone: there are no ACLs here.
func (s *Service) PutBucketOwnershipControls(ctx context.Context, in *s3.PutBucketOwnershipControlsInput) (*s3.PutBucketOwnershipControlsOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutBucketOwnershipControls"}, func(b *bucket) error {
		rules := in.OwnershipControls.Rules
		if len(rules) != 1 {
			return malformedXML()
		}
		if rules[0].ObjectOwnership != types.ObjectOwnershipBucketOwnerEnforced {
			return notImplemented("ObjectOwnership: " + string(rules[0].ObjectOwnership))
		}
		b.Ownership = rules[0].ObjectOwnership
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.PutBucketOwnershipControlsOutput{}, nil
}

// GetBucketOwnershipControls tells them.
func (s *Service) GetBucketOwnershipControls(ctx context.Context, in *s3.GetBucketOwnershipControlsInput) (*s3.GetBucketOwnershipControlsOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetBucketOwnershipControls"})
	if err != nil {
		return nil, err
	}
	if b.Ownership == "" {
		return nil, missing("OwnershipControlsNotFoundError", "The bucket ownership controls were not found").with("BucketName", b.Name)
	}
	return &s3.GetBucketOwnershipControlsOutput{OwnershipControls: &types.OwnershipControls{Rules: []types.OwnershipControlsRule{{ObjectOwnership: b.Ownership}}}}, nil
}

// DeleteBucketOwnershipControls takes them away, which changes nothing about ACLs: there
// are none.
func (s *Service) DeleteBucketOwnershipControls(ctx context.Context, in *s3.DeleteBucketOwnershipControlsInput) (*s3.DeleteBucketOwnershipControlsOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:PutBucketOwnershipControls"}, func(b *bucket) error {
		b.Ownership = ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.DeleteBucketOwnershipControlsOutput{}, nil
}

// ownersGrant is all that an ACL has here.
func (b *bucket) ownersGrant() []types.Grant {
	return []types.Grant{{Grantee: &types.Grantee{Type: types.TypeCanonicalUser, ID: aws.String(canonicalID(b.Account))}, Permission: types.PermissionFullControl}}
}

// GetBucketAcl says that the bucket is its owner's.
func (s *Service) GetBucketAcl(ctx context.Context, in *s3.GetBucketAclInput) (*s3.GetBucketAclOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetBucketAcl"})
	if err != nil {
		return nil, err
	}
	return &s3.GetBucketAclOutput{Owner: b.owner(), Grants: b.ownersGrant()}, nil
}

// PutBucketAcl takes what changes nothing.
func (s *Service) PutBucketAcl(ctx context.Context, in *s3.PutBucketAclInput) (*s3.PutBucketAclOutput, error) {
	a := access{action: "s3:PutBucketAcl", conditions: map[string][]string{}}
	if in.ACL != "" {
		a.conditions["s3:x-amz-acl"] = []string{string(in.ACL)}
	}
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, a)
	if err != nil {
		return nil, err
	}
	r := headerRefusals{acl: types.ObjectCannedACL(in.ACL), grants: []*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWrite, in.GrantWriteACP}}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := b.checkACL(in.AccessControlPolicy); err != nil {
		return nil, err
	}
	return &s3.PutBucketAclOutput{}, nil
}

// checkACL takes an ACL that says what is so anyway.
func (b *bucket) checkACL(p *types.AccessControlPolicy) error {
	if p == nil {
		return nil
	}
	for _, grant := range p.Grants {
		if grant.Grantee == nil || aws.ToString(grant.Grantee.ID) != canonicalID(b.Account) || grant.Permission != types.PermissionFullControl {
			return notACL()
		}
	}
	return nil
}

// GetObjectAcl says that the object is the bucket's owner's.
func (s *Service) GetObjectAcl(ctx context.Context, in *s3.GetObjectAclInput) (*s3.GetObjectAclOutput, error) {
	f, err := s.seek(ctx, reading{bucket: *in.Bucket, key: *in.Key, owner: in.ExpectedBucketOwner, version: in.VersionId, action: "s3:GetObjectAcl"})
	if err != nil {
		return nil, err
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	return &s3.GetObjectAclOutput{Owner: f.bucket.owner(), Grants: f.bucket.ownersGrant()}, nil
}

// PutObjectAcl takes what changes nothing.
func (s *Service) PutObjectAcl(ctx context.Context, in *s3.PutObjectAclInput) (*s3.PutObjectAclOutput, error) {
	action := "s3:PutObjectAcl"
	if in.VersionId != nil {
		action = "s3:PutObjectVersionAcl"
	}
	a := access{action: action, key: *in.Key, conditions: map[string][]string{}}
	if in.ACL != "" {
		a.conditions["s3:x-amz-acl"] = []string{string(in.ACL)}
	}
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, a)
	if err != nil {
		return nil, err
	}
	r := headerRefusals{acl: in.ACL, grants: []*string{in.GrantFullControl, in.GrantRead, in.GrantReadACP, in.GrantWrite, in.GrantWriteACP}, payer: string(in.RequestPayer)}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := b.checkACL(in.AccessControlPolicy); err != nil {
		return nil, err
	}
	if err := checkKey(*in.Key); err != nil {
		return nil, err
	}
	var o *object
	if err := s.store.View(ctx, func(tx store.Tx) (err error) { o, err = s.look(tx, b, *in.Key, aws.ToString(in.VersionId)); return err }); err != nil {
		return nil, err
	}
	if o == nil || o.Marker {
		return nil, s.absent(ctx, b, *in.Key, aws.ToString(in.VersionId), o)
	}
	return &s3.PutObjectAclOutput{}, nil
}

// What follows is not configurable here. Clients ask for it with every refresh, and
// want to hear that it is not configured.

func (s *Service) unconfigured(ctx context.Context, name, owner *string, action string) (*bucket, error) {
	return s.open(ctx, *name, owner, access{action: action})
}

// GetBucketCors says that there is none.
func (s *Service) GetBucketCors(ctx context.Context, in *s3.GetBucketCorsInput) (*s3.GetBucketCorsOutput, error) {
	b, err := s.unconfigured(ctx, in.Bucket, in.ExpectedBucketOwner, "s3:GetBucketCORS")
	if err != nil {
		return nil, err
	}
	return nil, missing("NoSuchCORSConfiguration", "The CORS configuration does not exist").with("BucketName", b.Name)
}

// GetBucketWebsite says that there is none.
func (s *Service) GetBucketWebsite(ctx context.Context, in *s3.GetBucketWebsiteInput) (*s3.GetBucketWebsiteOutput, error) {
	b, err := s.unconfigured(ctx, in.Bucket, in.ExpectedBucketOwner, "s3:GetBucketWebsite")
	if err != nil {
		return nil, err
	}
	return nil, missing("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration").with("BucketName", b.Name)
}

// GetBucketReplication says that there is none.
func (s *Service) GetBucketReplication(ctx context.Context, in *s3.GetBucketReplicationInput) (*s3.GetBucketReplicationOutput, error) {
	b, err := s.unconfigured(ctx, in.Bucket, in.ExpectedBucketOwner, "s3:GetReplicationConfiguration")
	if err != nil {
		return nil, err
	}
	return nil, missing("ReplicationConfigurationNotFoundError", "The replication configuration was not found").with("BucketName", b.Name)
}

// GetObjectLockConfiguration says that there is none.
func (s *Service) GetObjectLockConfiguration(ctx context.Context, in *s3.GetObjectLockConfigurationInput) (*s3.GetObjectLockConfigurationOutput, error) {
	b, err := s.unconfigured(ctx, in.Bucket, in.ExpectedBucketOwner, "s3:GetBucketObjectLockConfiguration")
	if err != nil {
		return nil, err
	}
	return nil, missing("ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket").with("BucketName", b.Name)
}

// GetBucketAccelerateConfiguration says that there is none.
func (s *Service) GetBucketAccelerateConfiguration(ctx context.Context, in *s3.GetBucketAccelerateConfigurationInput) (*s3.GetBucketAccelerateConfigurationOutput, error) {
	if _, err := s.unconfigured(ctx, in.Bucket, in.ExpectedBucketOwner, "s3:GetAccelerateConfiguration"); err != nil {
		return nil, err
	}
	if in.RequestPayer != "" {
		return nil, notImplemented("x-amz-request-payer")
	}
	return &s3.GetBucketAccelerateConfigurationOutput{}, nil
}

// GetBucketRequestPayment says that the owner pays.
func (s *Service) GetBucketRequestPayment(ctx context.Context, in *s3.GetBucketRequestPaymentInput) (*s3.GetBucketRequestPaymentOutput, error) {
	if _, err := s.unconfigured(ctx, in.Bucket, in.ExpectedBucketOwner, "s3:GetBucketRequestPayment"); err != nil {
		return nil, err
	}
	return &s3.GetBucketRequestPaymentOutput{Payer: types.PayerBucketOwner}, nil
}

// GetBucketLogging says that there is none: the audit has every request.
func (s *Service) GetBucketLogging(ctx context.Context, in *s3.GetBucketLoggingInput) (*s3.GetBucketLoggingOutput, error) {
	if _, err := s.unconfigured(ctx, in.Bucket, in.ExpectedBucketOwner, "s3:GetBucketLogging"); err != nil {
		return nil, err
	}
	return &s3.GetBucketLoggingOutput{}, nil
}

// GetBucketNotificationConfiguration says that there is none.
func (s *Service) GetBucketNotificationConfiguration(ctx context.Context, in *s3.GetBucketNotificationConfigurationInput) (*s3.GetBucketNotificationConfigurationOutput, error) {
	if _, err := s.unconfigured(ctx, in.Bucket, in.ExpectedBucketOwner, "s3:GetBucketNotification"); err != nil {
		return nil, err
	}
	return &s3.GetBucketNotificationConfigurationOutput{}, nil
}
