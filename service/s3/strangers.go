package s3

import (
	"errors"
	"slices"

	"github.com/malote/malote/caller"
)

// Anonymous are the operations that anybody may ask for, without credentials; the bucket's
// policy decides. The others AWS refuses to such, or they want a body before there is
// anything to decide about.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-overview.html
var Anonymous = []string{
	"GetBucketLocation", "HeadBucket", "ListObjectVersions", "ListObjects", "ListObjectsV2",
	"DeleteObject", "GetObject", "GetObjectAttributes", "GetObjectTagging", "HeadObject", "PutObject",
}

// admits lets nobody without credentials any further than a bucket that has a policy for
// everyone: not to learn which buckets there are, nor to have the audit written full. What
// the policy says then is decided, and recorded, as for anyone. It returns err for others.
func (b *bucket) admits(request *caller.Request, err error) error {
	if request.Principal.Type != caller.Anonymous {
		return err
	}
	var api *apiError
	if errors.As(err, &api) || err == nil && (b.document == nil || !b.document.ForEveryone() || b.restricts(request.Principal)) {
		return accessDenied("Access Denied")
	}
	return err
}

// beforeVersionFour are the Regions that are older than Signature Version 4, and take version
// 2 as well.
//
// https://docs.aws.amazon.com/general/latest/gr/s3.html
var beforeVersionFour = []string{
	"us-east-1", "us-west-1", "us-west-2", "eu-west-1", "ap-southeast-1", "ap-southeast-2", "ap-northeast-1", "sa-east-1",
}

// checkVersion refuses Signature Version 2 where AWS does.
func (b *bucket) checkVersion(request *caller.Request) error {
	if request.SignatureV2 && !slices.Contains(beforeVersionFour, b.Region) {
		return bad("InvalidRequest", "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
	}
	return nil
}

// checkSignature refuses what KMS would have to be asked for to who did not sign by
// Signature Version 4.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
func checkSignature(request *caller.Request) error {
	if request.SignatureV2 || request.Principal.Type == caller.Anonymous {
		return invalidArgument("Authorization", "null", "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.")
	}
	return nil
}
