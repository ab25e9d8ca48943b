package s3

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/attached"
)

const maxPolicy = 20 << 10

// PutBucketPolicy attaches a policy to a bucket: it decides from the next request on. A
// public one is refused where BlockPublicPolicy says so, and one that would keep the caller
// from changing it again unless the request confirms that.
func (s *Service) PutBucketPolicy(ctx context.Context, in *s3.PutBucketPolicyInput) (*s3.PutBucketPolicyOutput, error) {
	a := access{action: "s3:PutBucketPolicy", mending: true}
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, a)
	if err != nil {
		return nil, err
	}
	put, document, err := s.newPolicy(ctx, b, *in.Policy)
	if err != nil {
		return nil, err
	}
	if !aws.ToBool(in.ConfirmRemoveSelfBucketAccess) {
		after := *b
		after.Policy, after.document = put, document
		if may, err := s.may(ctx, &after, a); err != nil {
			return nil, err
		} else if !may {
			return nil, bad("InvalidRequest", "The policy would keep you from changing it again. Confirm that with x-amz-confirm-remove-self-bucket-access.")
		}
	}
	err = s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, a, func(b *bucket) error {
		if b.PublicAccess != nil && b.PublicAccess.BlockPolicy && document.Public() {
			return accessDenied("User is not authorized to perform: s3:PutBucketPolicy because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.")
		}
		b.Policy = put
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.PutBucketPolicyOutput{}, nil
}

// newPolicy reads a policy for a bucket, and words what is wrong with it.
func (s *Service) newPolicy(ctx context.Context, b *bucket, text string) (attached.Policy, *policy.Document, error) {
	var none attached.Policy
	malformed := func(message string) *apiError { return bad("MalformedPolicy", "%s", message) }
	switch {
	case len(text) > maxPolicy:
		return none, nil, bad("PolicyTooLarge", "The policy has %d bytes; at most %d are allowed", len(text), maxPolicy)
	case text == "" || text[0] != '{':
		return none, nil, malformed("Policies must be valid JSON and the first byte must be '{'")
	}
	put, document, err := attached.New(ctx, policy.Resource, text, s.principals)
	var syntax *policy.SyntaxError
	var nobody *attached.InvalidPrincipal
	switch {
	case errors.As(err, &syntax):
		return none, nil, malformed(syntax.Explain())
	case errors.As(err, &nobody):
		return none, nil, malformed("Invalid principal in policy").with("Detail", nobody.Principal)
	case err != nil:
		return none, nil, err
	}
	for pattern := range document.Resources() {
		if !b.among(pattern) {
			return none, nil, malformed("Policy has invalid resource").with("Detail", pattern)
		}
	}
	return put, document, nil
}

// among reports whether a policy's resource can be the bucket or what is in it.
func (b *bucket) among(resource string) bool {
	if resource == "*" {
		return true
	}
	named, ok := strings.CutPrefix(resource, "arn:aws:s3:::")
	named, _, _ = strings.Cut(named, "/")
	matches, err := path.Match(named, b.Name)
	return ok && err == nil && matches
}

// GetBucketPolicy returns the policy as it was put, to the byte while those whom it names
// are still there.
func (s *Service) GetBucketPolicy(ctx context.Context, in *s3.GetBucketPolicyInput) (*s3.GetBucketPolicyOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetBucketPolicy", mending: true})
	if err != nil {
		return nil, err
	}
	if b.Policy.Text == "" {
		return nil, noSuchPolicy(b)
	}
	text, err := b.Policy.Read(ctx, s.principals)
	if err != nil {
		return nil, err
	}
	return &s3.GetBucketPolicyOutput{Policy: &text}, nil
}

func noSuchPolicy(b *bucket) error {
	return missing("NoSuchBucketPolicy", "The bucket policy does not exist").with("BucketName", b.Name)
}

// DeleteBucketPolicy takes the policy off.
func (s *Service) DeleteBucketPolicy(ctx context.Context, in *s3.DeleteBucketPolicyInput) (*s3.DeleteBucketPolicyOutput, error) {
	err := s.configure(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:DeleteBucketPolicy", mending: true}, func(b *bucket) error {
		b.Policy = attached.Policy{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &s3.DeleteBucketPolicyOutput{}, nil
}

// GetBucketPolicyStatus says whether the policy is public.
func (s *Service) GetBucketPolicyStatus(ctx context.Context, in *s3.GetBucketPolicyStatusInput) (*s3.GetBucketPolicyStatusOutput, error) {
	b, err := s.open(ctx, *in.Bucket, in.ExpectedBucketOwner, access{action: "s3:GetBucketPolicyStatus"})
	if err != nil {
		return nil, err
	}
	if b.document == nil {
		return nil, noSuchPolicy(b)
	}
	return &s3.GetBucketPolicyStatusOutput{PolicyStatus: &types.PolicyStatus{IsPublic: aws.Bool(b.document.Public())}}, nil
}
