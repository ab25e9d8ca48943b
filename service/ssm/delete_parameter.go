package ssm

import (
	"context"
	"errors"
	"maps"

	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/malote/malote/store"
)

// DeleteParameter deletes a parameter with its versions, labels and tags.
func (s *Service) DeleteParameter(ctx context.Context, in *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error) {
	r := parseName(ctx, *in.Name)
	found, err := s.authorized(ctx, "ssm:DeleteParameter", &r)
	if err != nil {
		return nil, err
	}
	if err := s.delete(ctx, "ssm:DeleteParameter", &r, found.parameter); err != nil {
		return nil, err
	}
	return &ssm.DeleteParameterOutput{}, nil
}

// DeleteParameters deletes up to ten parameters. Names of nothing are listed apart; a
// caller who may not delete one of them deletes none.
func (s *Service) DeleteParameters(ctx context.Context, in *ssm.DeleteParametersInput) (*ssm.DeleteParametersOutput, error) {
	out := &ssm.DeleteParametersOutput{DeletedParameters: []string{}, InvalidParameters: []string{}}
	type item struct {
		r ref
		p *parameter
	}
	var found []item
	for _, name := range in.Names {
		r := parseName(ctx, name)
		x, err := s.authorized(ctx, "ssm:DeleteParameters", &r)
		switch {
		case isNotFound(err) || err != nil && err == r.err:
			out.InvalidParameters = append(out.InvalidParameters, name)
		case err != nil:
			return nil, err
		default:
			found = append(found, item{r, x.parameter})
		}
	}
	for _, f := range found {
		switch err := s.delete(ctx, "ssm:DeleteParameters", &f.r, f.p); {
		case isNotFound(err): // twice in one request, or deleted by another meanwhile
			out.InvalidParameters = append(out.InvalidParameters, f.r.shown)
		case err != nil:
			return nil, err
		default:
			out.DeletedParameters = append(out.DeletedParameters, f.r.shown)
		}
	}
	return out, nil
}

// delete asks again whether the caller may do action when the parameter has not the tags
// any more that it was asked about with.
func (s *Service) delete(ctx context.Context, action string, r *ref, was *parameter) error {
	for range maxAttempts {
		err := s.store.Update(ctx, func(tx store.Tx) error {
			p, err := s.parameters.Get(tx, r.key())
			if errors.Is(err, store.ErrNotFound) {
				return notFound()
			}
			if err != nil {
				return err
			}
			if !maps.Equal(p.Tags, was.Tags) {
				return errChanged
			}
			return s.remove(tx, r, p)
		})
		if !errors.Is(err, errChanged) {
			return err
		}
		found, err := s.authorized(ctx, action, r)
		if err != nil {
			return err
		}
		was = found.parameter
	}
	return errChanged
}

// remove leaves nothing of p. With a hundred versions these are as many writes as a
// transaction takes.
func (s *Service) remove(tx store.Tx, r *ref, p *parameter) error {
	for number := p.Oldest; number < p.Current.Number; number++ {
		if err := s.versions.Delete(tx, r.versionKey(number)); err != nil {
			return err
		}
	}
	return s.parameters.Delete(tx, r.key())
}
