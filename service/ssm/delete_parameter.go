package ssm

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/malote/malote/store"
)

// DeleteParameter deletes a parameter with its versions, labels and tags.
func (s *Service) DeleteParameter(ctx context.Context, in *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error) {
	r := parseName(ctx, *in.Name)
	if _, err := s.authorized(ctx, "ssm:DeleteParameter", &r); err != nil {
		return nil, err
	}
	if err := s.delete(ctx, &r); err != nil {
		return nil, err
	}
	return &ssm.DeleteParameterOutput{}, nil
}

// DeleteParameters deletes up to ten parameters. Names of nothing are listed apart; a
// caller who may not delete one of them deletes none.
func (s *Service) DeleteParameters(ctx context.Context, in *ssm.DeleteParametersInput) (*ssm.DeleteParametersOutput, error) {
	out := &ssm.DeleteParametersOutput{DeletedParameters: []string{}, InvalidParameters: []string{}}
	var found []ref
	for _, name := range in.Names {
		r := parseName(ctx, name)
		_, err := s.authorized(ctx, "ssm:DeleteParameters", &r)
		switch {
		case isNotFound(err) || err != nil && err == r.err:
			out.InvalidParameters = append(out.InvalidParameters, name)
		case err != nil:
			return nil, err
		default:
			found = append(found, r)
		}
	}
	for _, r := range found {
		switch err := s.delete(ctx, &r); {
		case isNotFound(err): // twice in one request, or deleted by another meanwhile
			out.InvalidParameters = append(out.InvalidParameters, r.shown)
		case err != nil:
			return nil, err
		default:
			out.DeletedParameters = append(out.DeletedParameters, r.shown)
		}
	}
	return out, nil
}

func (s *Service) delete(ctx context.Context, r *ref) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		p, err := s.parameters.Get(tx, r.key())
		if errors.Is(err, store.ErrNotFound) {
			return notFound()
		}
		if err != nil {
			return err
		}
		for number := p.Oldest; number < p.Current.Number; number++ {
			if err := s.versions.Delete(tx, r.versionKey(number)); err != nil {
				return err
			}
		}
		return s.parameters.Delete(tx, r.key())
	})
}
