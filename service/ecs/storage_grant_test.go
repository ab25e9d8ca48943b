package ecs

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/malote/malote/caller"
)

// leaving are keys that an engine hangs up in the middle of: KMS answers nobody who has.
type leaving struct {
	Keys
	hangUp context.CancelFunc
	asked  []*caller.Request
}

func (k *leaving) ask(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.asked = append(k.asked, caller.From(ctx))
	return nil
}

func (k *leaving) GenerateDataKeyWithoutPlaintext(ctx context.Context, _ *kms.GenerateDataKeyWithoutPlaintextInput) (*kms.GenerateDataKeyWithoutPlaintextOutput, error) {
	return &kms.GenerateDataKeyWithoutPlaintextOutput{KeyId: aws.String("key")}, k.ask(ctx)
}

func (k *leaving) CreateGrant(ctx context.Context, _ *kms.CreateGrantInput) (*kms.CreateGrantOutput, error) {
	err := k.ask(ctx)
	k.hangUp()
	return &kms.CreateGrantOutput{GrantId: aws.String("grant"), GrantToken: aws.String("token")}, err
}

func (k *leaving) Decrypt(ctx context.Context, _ *kms.DecryptInput) (*kms.DecryptOutput, error) {
	return nil, k.ask(ctx)
}

func (k *leaving) RetireGrant(ctx context.Context, in *kms.RetireGrantInput) (*kms.RetireGrantOutput, error) {
	if *in.GrantId != "grant" || *in.KeyId != "key" {
		return nil, errors.New("another grant")
	}
	return nil, k.ask(ctx)
}

// An engine that hangs up leaves no grant behind. All that KMS is asked is for the task.
func TestAGrantIsRetiredWhenTheEngineIsGone(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	keys := &leaving{hangUp: hangUp}
	st := &stream{s: &Service{keys: keys, now: time.Now, log: slog.New(slog.DiscardHandler)}, sc: scope{"111122223333", "us-east-1"}}
	_, err := st.storageKey(ctx, &task{Cluster: "default", Task: types.Task{
		TaskArn: aws.String("arn:task"), FargateEphemeralStorage: &types.TaskEphemeralStorage{KmsKeyId: aws.String("key")},
	}}, caller.Task{ARN: "arn:task", Service: "web"})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("storageKey = %v", err)
	}
	var operations []string
	for _, r := range keys.asked {
		operations = append(operations, r.Operation)
		if of := r.Principal.Task; of == nil || of.ARN != "arn:task" || of.Service != "web" {
			t.Errorf("%s is not said to be for the task: %+v", r.Operation, of)
		}
	}
	if want := []string{"GenerateDataKeyWithoutPlaintext", "CreateGrant", "RetireGrant"}; !slices.Equal(operations, want) {
		t.Errorf("KMS did %v, want %v", operations, want)
	}
}
