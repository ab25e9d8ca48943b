package s3

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// CreateBucket makes a bucket in the request's region, of the caller's account. Nothing in
// it is public, ACLs are off, and objects are encrypted with keys of S3's own.
func (s *Service) CreateBucket(ctx context.Context, in *s3.CreateBucketInput) (*s3.CreateBucketOutput, error) {
	request := caller.From(ctx)
	b := &bucket{
		ID: newID(), Name: *in.Bucket, Account: request.Principal.Account, Region: request.Region, Created: s.timestamp(),
		Encryption:   encryption{Algorithm: types.ServerSideEncryptionAes256},
		BlockSSEC:    true,
		PublicAccess: &publicAccess{true, true, true, true},
		Ownership:    types.ObjectOwnershipBucketOwnerEnforced,
	}
	if in.ObjectOwnership != "" {
		b.Ownership = in.ObjectOwnership
	}
	asked := []access{{action: "s3:CreateBucket", conditions: map[string][]string{}}}
	if in.ACL != "" {
		asked[0].conditions["s3:x-amz-acl"] = []string{string(in.ACL)}
		asked = append(asked, access{action: "s3:PutBucketAcl"})
	}
	if in.ObjectOwnership != "" {
		asked[0].conditions["s3:x-amz-object-ownership"] = []string{string(in.ObjectOwnership)}
		asked = append(asked, access{action: "s3:PutBucketOwnershipControls"})
	}
	if c := in.CreateBucketConfiguration; c != nil {
		if c.LocationConstraint != "" {
			asked[0].conditions["s3:LocationConstraint"] = []string{string(c.LocationConstraint)}
		}
		if len(c.Tags) > 0 {
			tags, err := tagMap(c.Tags, maxBucketTags)
			if err != nil {
				return nil, err
			}
			b.Tags = tags
			asked[0].bucketTags = tags
			asked = append(asked, access{action: "s3:TagResource", bucketTags: tags})
		}
	}
	fresh := *b
	fresh.Tags = nil // it has none yet
	for _, a := range asked {
		if err := s.authorize(ctx, &fresh, a); err != nil {
			return nil, err
		}
	}
	if err := checkBucketName(b.Name); err != nil {
		return nil, err
	}
	if err := refuseCreate(in, request.Region); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, func(tx store.Tx) error {
		was, err := s.bucketIn(tx, b.Name)
		var api *apiError
		switch {
		case err == nil && was.Account != b.Account:
			return conflict("BucketAlreadyExists", "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.").with("BucketName", b.Name)
		case err == nil && (request.Region != "us-east-1" || was.Region != b.Region || len(b.Tags) > 0):
			return conflict("BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.").with("BucketName", b.Name)
		case err == nil:
			return nil
		case !errors.As(err, &api):
			return err
		}
		return s.buckets.Put(tx, bucketKey(b.Name), b)
	})
	if err != nil {
		return nil, err
	}
	return &s3.CreateBucketOutput{Location: aws.String("/" + b.Name), BucketArn: aws.String(b.arn())}, nil
}

// refuseCreate says what of a request is not done here, or cannot be.
func refuseCreate(in *s3.CreateBucketInput, region string) error {
	for name, value := range map[string]*string{
		"x-amz-grant-full-control": in.GrantFullControl, "x-amz-grant-read": in.GrantRead, "x-amz-grant-read-acp": in.GrantReadACP,
		"x-amz-grant-write": in.GrantWrite, "x-amz-grant-write-acp": in.GrantWriteACP,
	} {
		if value != nil {
			return notImplemented(name)
		}
	}
	if in.BucketNamespace != "" && in.BucketNamespace != types.BucketNamespaceGlobal {
		return notImplemented("x-amz-bucket-namespace")
	}
	if aws.ToBool(in.ObjectLockEnabledForBucket) {
		return notImplemented("x-amz-bucket-object-lock-enabled")
	}
	if in.ACL != "" && in.ACL != types.BucketCannedACLPrivate {
		return bad("InvalidBucketAclWithObjectOwnership", "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
	}
	if in.ObjectOwnership != "" && in.ObjectOwnership != types.ObjectOwnershipBucketOwnerEnforced {
		return notImplemented("x-amz-object-ownership")
	}
	constraint := ""
	if c := in.CreateBucketConfiguration; c != nil {
		if c.Bucket != nil || c.Location != nil {
			return notImplemented("CreateBucketConfiguration")
		}
		constraint = string(c.LocationConstraint)
	}
	if constraint == "EU" {
		constraint = "eu-west-1"
	}
	switch {
	case constraint == region && region == "us-east-1":
		return bad("InvalidLocationConstraint", "The specified location-constraint is not valid").with("LocationConstraint", constraint)
	case constraint == region, constraint == "" && region == "us-east-1":
		return nil
	case constraint == "":
		return bad("IllegalLocationConstraintException", "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to.")
	}
	return bad("IllegalLocationConstraintException", "The %s location constraint is incompatible for the region specific endpoint this request was sent to.", constraint)
}

// DeleteBucket removes a bucket in which there is nothing.
func (s *Service) DeleteBucket(ctx context.Context, in *s3.DeleteBucketInput) (*s3.DeleteBucketOutput, error) {
	a := access{action: "s3:DeleteBucket"}
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, a)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, b, []access{a}, func(tx store.Tx, b *bucket) error {
		for row, err := range s.objects.Scan(tx, b.objectPrefix(), "") {
			if err != nil {
				return err
			}
			_ = row
			message := "The bucket you tried to delete is not empty"
			if b.Versioning != "" {
				message += ". You must delete all versions in the bucket."
			}
			return conflict("BucketNotEmpty", message).with("BucketName", b.Name)
		}
		return s.buckets.Delete(tx, bucketKey(b.Name))
	})
	if err != nil {
		return nil, err
	}
	return &s3.DeleteBucketOutput{}, nil
}

// HeadBucket says whether there is such a bucket that the caller may list.
func (s *Service) HeadBucket(ctx context.Context, in *s3.HeadBucketInput) (*s3.HeadBucketOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:ListBucket"})
	if err != nil {
		return nil, err
	}
	return &s3.HeadBucketOutput{BucketRegion: &b.Region, BucketArn: aws.String(b.arn()), AccessPointAlias: aws.Bool(false)}, nil
}

// GetBucketLocation is the bucket's region, asked for in any; us-east-1 has no name.
func (s *Service) GetBucketLocation(ctx context.Context, in *s3.GetBucketLocationInput) (*s3.GetBucketLocationOutput, error) {
	b, err := s.findAnywhere(ctx, *in.Bucket)
	if err != nil {
		return nil, err
	}
	if err := b.ownedBy(in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if err := s.authorize(ctx, b, access{action: "s3:GetBucketLocation"}); err != nil {
		return nil, err
	}
	out := &s3.GetBucketLocationOutput{}
	if b.Region != "us-east-1" {
		out.LocationConstraint = types.BucketLocationConstraint(b.Region)
	}
	return out, nil
}

// ListBuckets lists the buckets of the caller's account.
func (s *Service) ListBuckets(ctx context.Context, in *s3.ListBucketsInput) (*s3.ListBucketsOutput, error) {
	account := caller.From(ctx).Principal.Account
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "s3:ListAllMyBuckets", Resource: "*"}); err != nil {
		return nil, denial(err)
	}
	limit := int(aws.ToInt32(in.MaxBuckets))
	if in.MaxBuckets != nil && (limit < 1 || limit > 10000) {
		return nil, invalidArgument("max-buckets", "", "Argument max-buckets must be an integer between 1 and 10000")
	}
	after := ""
	if in.ContinuationToken != nil {
		name, err := readToken(*in.ContinuationToken)
		if err != nil {
			return nil, err
		}
		after = bucketKey(name)
	}
	out := &s3.ListBucketsOutput{Buckets: []types.Bucket{}, Owner: &types.Owner{ID: aws.String(canonicalID(account))}, Prefix: in.Prefix}
	err := s.store.View(ctx, func(tx store.Tx) error {
		out.Buckets, out.ContinuationToken = out.Buckets[:0], nil
		for row, err := range s.buckets.Scan(tx, bucketPrefix+aws.ToString(in.Prefix), after) {
			if err != nil {
				return err
			}
			b := row.Value
			if b.Account != account || in.BucketRegion != nil && *in.BucketRegion != b.Region {
				continue
			}
			if limit > 0 && len(out.Buckets) == limit {
				out.ContinuationToken = aws.String(newToken(*out.Buckets[limit-1].Name))
				return nil
			}
			listed := types.Bucket{Name: aws.String(b.Name), CreationDate: aws.Time(b.Created)}
			if limit > 0 || in.BucketRegion != nil {
				listed.BucketRegion = aws.String(b.Region)
			}
			out.Buckets = append(out.Buckets, listed)
		}
		return nil
	})
	return out, err
}

// canonicalID is the id by which S3's answers call an account.
func canonicalID(account string) string { return strings.Repeat("0", 52) + account }
