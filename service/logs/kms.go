package logs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/xaes"
)

// dataKeyLife is for how long a data key encrypts what a group gets: AWS, too, takes up
// to five minutes to notice what became of a KMS key. Reading asks KMS each time.
const dataKeyLife = 5 * time.Minute

// dataKey encrypts chunks of one group.
type dataKey struct {
	keyID   string // of the KMS key
	wrapped []byte
	key     *xaes.Key
	made    time.Time
}

// asService is ctx for calls that the service makes as itself: it is the key's policy that
// lets logs.REGION.amazonaws.com use the key for a group.
//
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/encrypt-log-data-kms.html
func asService(ctx context.Context, r *ref) context.Context {
	request := *caller.From(ctx)
	request.Principal = &caller.Principal{Type: caller.Service, Account: r.account, Service: "logs." + r.region + ".amazonaws.com"}
	request.SourceARN = r.arn()
	return caller.With(ctx, &request)
}

func encryptionContext(r *ref) map[string]string {
	return map[string]string{"aws:logs:arn": r.arn()}
}

// newDataKey asks KMS for a key to encrypt what the group gets.
func (s *Service) newDataKey(ctx context.Context, r *ref, keyID string) (*dataKey, error) {
	out, err := s.keys.GenerateDataKey(asService(ctx, r), &kms.GenerateDataKeyInput{KeyId: &keyID, KeySpec: types.DataKeySpecAes256, EncryptionContext: encryptionContext(r)})
	if err != nil {
		return nil, err
	}
	defer clear(out.Plaintext)
	return &dataKey{keyID: *out.KeyId, wrapped: out.CiphertextBlob, key: xaes.New(out.Plaintext), made: s.now()}, nil
}

// checkKey returns the ARN of a key that the service may use for the group.
func (s *Service) checkKey(ctx context.Context, r *ref, keyID string) (string, error) {
	refused := invalid("The specified KMS key does not exist or is not allowed to be used with LogGroup '%s'.", r.arn())
	if !strings.HasPrefix(keyID, "arn:") || !strings.Contains(keyID, ":key/") {
		return "", invalid("The specified KMS Key Id could not be found: kmsKeyId is the ARN of a key, arn:aws:kms:REGION:ACCOUNT:key/ID.")
	}
	key, err := s.newDataKey(ctx, r, keyID)
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		return "", refused
	case err != nil:
		return "", err
	}
	return key.keyID, nil
}

// writeKey is the data key to write to the group with, nil when it has no KMS key.
func (s *Service) writeKey(ctx context.Context, r *ref, g *group) (*dataKey, error) {
	if g.KmsKeyID == "" {
		return nil, nil
	}
	if key, ok := s.dataKeys.Get(g.ID); ok && key.keyID == g.KmsKeyID && s.now().Sub(key.made) < dataKeyLife {
		return key, nil
	}
	key, err := s.newDataKey(ctx, r, g.KmsKeyID)
	if err != nil {
		return nil, keyError(err)
	}
	s.dataKeys.Put(g.ID, key, 512)
	return key, nil
}

// keyError passes on what KMS says as a denial.
func keyError(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	return accessDenied(fmt.Sprintf("The KMS key of the log group cannot be used: %s (Service: AWSKMS; Error Code: %s)", api.ErrorMessage(), api.ErrorCode()))
}

// opener opens chunks of a group for one request: it asks KMS once for each data key.
type opener struct {
	service *Service
	r       *ref
	keys    map[string]*xaes.Key
}

func (s *Service) opener(r *ref) *opener {
	return &opener{service: s, r: r, keys: map[string]*xaes.Key{}}
}

// open appends the events of the chunk that lies at a store key.
func (o *opener) open(ctx context.Context, events []event, at string, stored []byte) ([]event, error) {
	_, seq, err := parseChunkKey(at)
	if err != nil {
		return events, err
	}
	wrapped, rest, err := unframe(stored)
	if err != nil {
		return events, fmt.Errorf("reading %s: %w", at, err)
	}
	if len(wrapped) > 0 {
		key := o.keys[string(wrapped)]
		if key == nil {
			out, err := o.service.keys.Decrypt(asService(ctx, o.r), &kms.DecryptInput{CiphertextBlob: wrapped, EncryptionContext: encryptionContext(o.r)})
			if err != nil {
				return events, keyError(err)
			}
			key = xaes.New(out.Plaintext)
			clear(out.Plaintext)
			if len(o.keys) > 1000 {
				clear(o.keys)
			}
			o.keys[string(wrapped)] = key
		}
		if rest, err = key.Open(rest, []byte(at)); err != nil {
			return events, fmt.Errorf("decrypting %s: %w", at, err)
		}
	}
	events, err = decode(events, seq, rest)
	if err != nil {
		return events, fmt.Errorf("reading %s: %w", at, err)
	}
	return events, nil
}

// AssociateKmsKey has what a log group gets from now on encrypted under a KMS key. What it
// has stays as it is.
func (s *Service) AssociateKmsKey(ctx context.Context, in *cloudwatchlogs.AssociateKmsKeyInput) (*cloudwatchlogs.AssociateKmsKeyOutput, error) {
	r := resource(ctx, in.LogGroupName, in.ResourceIdentifier)
	d := door{action: "logs:AssociateKmsKey"}
	if _, err := s.authorized(ctx, r, d); err != nil {
		return nil, err
	}
	key, err := s.checkKey(ctx, r, *in.KmsKeyId)
	if err != nil {
		return nil, err
	}
	if err := s.setKey(ctx, r, d, key); err != nil {
		return nil, err
	}
	return &cloudwatchlogs.AssociateKmsKeyOutput{}, nil
}

// DisassociateKmsKey ends that. To read what was encrypted still takes the key.
func (s *Service) DisassociateKmsKey(ctx context.Context, in *cloudwatchlogs.DisassociateKmsKeyInput) (*cloudwatchlogs.DisassociateKmsKeyOutput, error) {
	r := resource(ctx, in.LogGroupName, in.ResourceIdentifier)
	if err := s.setKey(ctx, r, door{action: "logs:DisassociateKmsKey"}, ""); err != nil {
		return nil, err
	}
	return &cloudwatchlogs.DisassociateKmsKeyOutput{}, nil
}

func (s *Service) setKey(ctx context.Context, r *ref, d door, key string) error {
	return s.changeGroup(ctx, r, d, func(g *group) error {
		g.KmsKeyID = key
		s.dataKeys.Remove(g.ID)
		return nil
	})
}

// resource is the group of logGroupName or of an ARN as resourceIdentifier. Query results,
// which that may also be, are not kept here.
func resource(ctx context.Context, name, identifier *string) *ref {
	switch {
	case (name == nil) == (identifier == nil):
		return &ref{place: here(ctx), name: aws.ToString(name), err: invalid("Exactly one of logGroupName and resourceIdentifier is required.")}
	case name != nil:
		return named(ctx, *name)
	case strings.HasSuffix(*identifier, ":query-result:*"):
		return &ref{place: here(ctx), err: unsupported("resourceIdentifier of query results")}
	}
	return byARN(ctx, *identifier)
}
