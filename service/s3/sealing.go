package s3

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	kmstypes "github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/xaes"
)

// sealing is how a body is encrypted. With SSE-S3 the data key is here, in a record that
// the keyring seals; with a KMS key it is encrypted under that as well. DSSE seals twice.
type sealing struct {
	Algorithm types.ServerSideEncryption `json:",omitempty"`
	KeyARN    string                     `json:",omitempty"`
	BucketKey bool                       `json:",omitempty"`
	Context   map[string]string          `json:",omitempty"` // what KMS is given
	Wrapped   []byte                     `json:",omitempty"` // by KMS
	Own       []byte                     `json:",omitempty"` // of SSE-S3 and the outer layer of DSSE
}

func (s *sealing) usesKMS() bool { return s.Algorithm != types.ServerSideEncryptionAes256 }

// keys is how many keys lie over one another.
func (s *sealing) keys() int {
	if s.Algorithm == types.ServerSideEncryptionAwsKmsDsse {
		return 2
	}
	return 1
}

// wish is what a request says about encryption.
type wish struct {
	algorithm types.ServerSideEncryption
	keyID     *string
	context   *string
	bucketKey *bool

	customerAlgorithm, customerKey, customerMD5 *string
}

// conditions are what policies may ask about it: the request's headers and nothing else.
// What the bucket does by default is not among them, as on AWS.
func (w *wish) conditions(c map[string][]string) map[string][]string {
	set := func(name, value string) {
		if value != "" {
			c["s3:x-amz-server-side-encryption"+name] = []string{value}
		}
	}
	set("", string(w.algorithm))
	set("-aws-kms-key-id", aws.ToString(w.keyID))
	set("-customer-algorithm", aws.ToString(w.customerAlgorithm))
	return c
}

// checkCustomer refuses keys that the customer keeps (SSE-C): buckets block them unless
// told otherwise, which is not done here.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
func (w *wish) checkCustomer() error {
	if w.customerAlgorithm != nil || w.customerKey != nil || w.customerMD5 != nil {
		return accessDenied("Server-side encryption with customer-provided keys (SSE-C) is blocked for this bucket.")
	}
	return nil
}

// decide brings the wish and the bucket's default together.
func (w *wish) decide(b *bucket) (encryption, error) {
	e := b.Encryption
	switch {
	case w.algorithm == "" && (w.keyID != nil || w.context != nil):
		return e, invalidArgument("x-amz-server-side-encryption", "", "The encryption method specified is not supported")
	case w.algorithm == "":
	case w.algorithm == types.ServerSideEncryptionAes256:
		if w.keyID != nil {
			return e, invalidArgument("x-amz-server-side-encryption", "AES256", "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
		e = encryption{Algorithm: w.algorithm}
	case w.algorithm == types.ServerSideEncryptionAwsKms, w.algorithm == types.ServerSideEncryptionAwsKmsDsse:
		chosen := encryption{Algorithm: w.algorithm, BucketKey: e.BucketKey}
		switch {
		case w.keyID != nil:
			chosen.KeyID = *w.keyID
		case e.Algorithm == w.algorithm:
			chosen.KeyID = e.KeyID
		}
		e = chosen
	default:
		return e, invalidArgument("x-amz-server-side-encryption", string(w.algorithm), "The encryption method specified is not supported")
	}
	if w.bucketKey != nil {
		e.BucketKey = *w.bucketKey
	}
	if e.Algorithm != types.ServerSideEncryptionAwsKms {
		e.BucketKey = false
	}
	return e, nil
}

// defaultKey is the AWS managed key.
const defaultKey = "alias/aws/s3"

// seal makes the data key of a new object.
func (s *Service) seal(ctx context.Context, b *bucket, key string, w *wish) (sealing, []*xaes.Key, error) {
	e, err := w.decide(b)
	if err != nil {
		return sealing{}, nil, err
	}
	made := sealing{Algorithm: e.Algorithm}
	if e.Algorithm != types.ServerSideEncryptionAwsKms {
		made.Own = make([]byte, xaes.KeySize)
		rand.Read(made.Own) // never fails
	}
	if e.Algorithm == types.ServerSideEncryptionAes256 {
		return made, []*xaes.Key{xaes.New(made.Own)}, nil
	}
	if err := checkSignature(caller.From(ctx)); err != nil {
		return sealing{}, nil, err
	}
	made.BucketKey = e.BucketKey
	if made.Context, err = keyContext(b, key, e.BucketKey, w.context); err != nil {
		return sealing{}, nil, err
	}
	keyID := e.KeyID
	if keyID == "" {
		keyID = defaultKey
	}
	out, err := s.keys.GenerateDataKey(caller.Forward(ctx, "s3"), &kms.GenerateDataKeyInput{KeyId: &keyID, KeySpec: kmstypes.DataKeySpecAes256, EncryptionContext: made.Context})
	if err != nil {
		return sealing{}, nil, keyError(err)
	}
	made.KeyARN, made.Wrapped = *out.KeyId, out.CiphertextBlob
	keys := []*xaes.Key{xaes.New(out.Plaintext)}
	clear(out.Plaintext)
	if made.Own != nil {
		keys = append(keys, xaes.New(made.Own))
	}
	return made, keys, nil
}

// keyContext is the encryption context: the ARN of the object, or of the bucket when it
// has a bucket key, and what the request adds.
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#encryption-context
func keyContext(b *bucket, key string, bucketKey bool, given *string) (map[string]string, error) {
	context := map[string]string{}
	if given != nil {
		text, err := base64.StdEncoding.DecodeString(*given)
		if err != nil || json.Unmarshal(text, &context) != nil || context == nil {
			return nil, invalidArgument("x-amz-server-side-encryption-context", "", "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents a string-string map")
		}
		context = maps.Clone(context)
	}
	arn := b.objectARN(key)
	if bucketKey {
		arn = b.arn()
	}
	if other, ok := context["aws:s3:arn"]; ok && other != arn {
		return nil, invalidArgument("x-amz-server-side-encryption-context", "", "The encryption context's aws:s3:arn is not that of this request")
	}
	context["aws:s3:arn"] = arn
	return context, nil
}

// unseal opens the data keys, as the caller.
func (s *Service) unseal(ctx context.Context, how *sealing) ([]*xaes.Key, error) {
	var keys []*xaes.Key
	if how.usesKMS() {
		if err := checkSignature(caller.From(ctx)); err != nil {
			return nil, err
		}
		out, err := s.keys.Decrypt(caller.Forward(ctx, "s3"), &kms.DecryptInput{CiphertextBlob: how.Wrapped, EncryptionContext: how.Context, KeyId: &how.KeyARN})
		if err != nil {
			return nil, keyError(err)
		}
		keys = append(keys, xaes.New(out.Plaintext))
		clear(out.Plaintext)
	}
	if how.Own != nil {
		keys = append(keys, xaes.New(how.Own))
	}
	if len(keys) != how.keys() {
		return nil, fmt.Errorf("an object has %d keys, not %d", len(keys), how.keys())
	}
	return keys, nil
}

// shown is how answers tell of it.
type shown struct {
	algorithm types.ServerSideEncryption
	keyID     *string
	bucketKey *bool
}

func (s *sealing) shown() shown {
	out := shown{algorithm: s.Algorithm}
	if s.usesKMS() {
		out.keyID = aws.String(s.KeyARN)
		if s.BucketKey {
			out.bucketKey = aws.Bool(true)
		}
	}
	return out
}
