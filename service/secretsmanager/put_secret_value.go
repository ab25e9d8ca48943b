package secretsmanager

import (
	"cmp"
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// PutSecretValue adds a version. Asked again with the same token and value it adds none.
// A RotationToken, which a function of another account hands back, must be of the rotation
// in progress and its version.
func (s *Service) PutSecretValue(ctx context.Context, in *secretsmanager.PutSecretValueInput) (*secretsmanager.PutSecretValueOutput, error) {
	a := access{action: "secretsmanager:PutSecretValue", secretID: *in.SecretId}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	p, err := newPlain(in.SecretString, in.SecretBinary)
	switch {
	case in.ClientRequestToken == nil:
		return nil, noToken()
	case err != nil:
		return nil, err
	case p == nil || len(p.bytes) == 0:
		return nil, invalidRequest("You must provide either SecretString or SecretBinary.")
	case in.RotationToken != nil && !x.Rotation.proves(*in.RotationToken, *in.ClientRequestToken):
		return nil, invalidParameter("The RotationToken isn't that of a rotation in progress which makes version %s.", *in.ClientRequestToken)
	}
	if err := cmp.Or(x.mayChange(), x.active()); err != nil {
		return nil, err
	}

	x, err = s.putVersion(ctx, a, x, *in.ClientRequestToken, p, in.VersionStages)
	if err != nil {
		return nil, err
	}
	out := &secretsmanager.PutSecretValueOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name), VersionId: in.ClientRequestToken}
	if v := x.version(*in.ClientRequestToken); v != nil {
		out.VersionStages = v.Stages
	}
	return out, nil
}
