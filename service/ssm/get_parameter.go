package ssm

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// GetParameter returns one parameter, the latest version unless the name says otherwise.
func (s *Service) GetParameter(ctx context.Context, in *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) {
	p, err := s.get(ctx, "ssm:GetParameter", *in.Name, aws.ToBool(in.WithDecryption))
	if err != nil {
		return nil, err
	}
	return &ssm.GetParameterOutput{Parameter: p}, nil
}

// GetParameters returns up to ten parameters by name. Names of nothing are listed apart;
// a caller who may not read one of them reads none.
func (s *Service) GetParameters(ctx context.Context, in *ssm.GetParametersInput) (*ssm.GetParametersOutput, error) {
	out := &ssm.GetParametersOutput{Parameters: []types.Parameter{}, InvalidParameters: []string{}}
	if len(slices.Compact(slices.Sorted(slices.Values(in.Names)))) < len(in.Names) {
		return nil, validation("1 validation error detected: Value at 'names' failed to satisfy constraint: Member must not contain duplicates")
	}
	for _, name := range in.Names {
		p, err := s.get(ctx, "ssm:GetParameters", name, aws.ToBool(in.WithDecryption))
		switch {
		case isNotFound(err):
			out.InvalidParameters = append(out.InvalidParameters, name)
		case err != nil:
			return nil, err
		default:
			out.Parameters = append(out.Parameters, *p)
		}
	}
	slices.SortStableFunc(out.Parameters, func(a, b types.Parameter) int { return cmp.Compare(*a.Name, *b.Name) })
	return out, nil
}

func isNotFound(err error) bool {
	var absent *types.ParameterNotFound
	var versionAbsent *types.ParameterVersionNotFound
	return errors.As(err, &absent) || errors.As(err, &versionAbsent)
}

func (s *Service) get(ctx context.Context, action, name string, decrypt bool) (*types.Parameter, error) {
	if secret, ok := parseReference(name); ok {
		return s.getReference(ctx, action, name, secret, decrypt)
	}
	r := parseRef(ctx, name)
	found, err := s.authorized(ctx, action, &r)
	if err != nil {
		return nil, err
	}
	p := r.answer(found)
	if decrypt {
		err = s.decrypt(ctx, r.arn(), found.version, p)
	}
	return p, err
}

// decrypt puts the value of v in clear into p.
func (s *Service) decrypt(ctx context.Context, arn string, v *version, p *types.Parameter) error {
	if v.Type != types.ParameterTypeSecureString {
		return nil
	}
	value, err := s.open(ctx, arn, v)
	if err != nil {
		return err
	}
	p.Value = &value
	return nil
}
