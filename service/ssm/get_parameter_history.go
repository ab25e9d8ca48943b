package ssm

import (
	"context"
	"errors"
	"maps"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/store"
)

const historyPage = 50

// GetParameterHistory returns the versions of a parameter, oldest first.
func (s *Service) GetParameterHistory(ctx context.Context, in *ssm.GetParameterHistoryInput) (*ssm.GetParameterHistoryOutput, error) {
	r := parseRef(ctx, *in.Name)
	if r.selector != "" && r.err == nil {
		r.selector, r.err = "", validation(badName)
	}
	found, err := s.authorized(ctx, "ssm:GetParameterHistory", &r)
	if err != nil {
		return nil, err
	}

	asked := question("history", r.id)
	last, err := parseToken(asked, in.NextToken)
	if err != nil {
		return nil, err
	}
	from := int64(1)
	if last != "" {
		if from, err = strconv.ParseInt(last, 10, 64); err != nil {
			return nil, invalidToken()
		}
		from++
	}
	var versions []*version
	more := false
	page := func(tx store.Tx) error {
		versions, more = nil, false
		p, err := s.parameters.Get(tx, r.key())
		if err == store.ErrNotFound {
			return notFound()
		}
		if err != nil {
			return err
		}
		if !maps.Equal(p.Tags, found.Tags) { // which the caller's rights may rest on
			return errChanged
		}
		found.parameter = p
		for number := max(from, p.Oldest); number <= p.Current.Number; number++ {
			if len(versions) == pageSize(in.MaxResults, historyPage) {
				more = true
				return nil
			}
			v, err := s.readVersion(tx, &r, p, number)
			if err != nil {
				return err
			}
			versions = append(versions, v)
		}
		return nil
	}
	for range maxAttempts {
		if err = s.store.View(ctx, page); !errors.Is(err, errChanged) {
			break
		}
		if found, err = s.authorized(ctx, "ssm:GetParameterHistory", &r); err != nil {
			return nil, err
		}
		err = errChanged
	}
	if err != nil {
		return nil, err
	}

	name := r.shown
	if name == "" {
		name = found.Name
	}
	out := &ssm.GetParameterHistoryOutput{Parameters: []types.ParameterHistory{}}
	for _, v := range versions {
		value := v.Value
		if aws.ToBool(in.WithDecryption) && v.Type == types.ParameterTypeSecureString {
			if value, err = s.open(ctx, r.arn(), v); err != nil {
				return nil, err
			}
		}
		out.Parameters = append(out.Parameters, types.ParameterHistory{
			Name:             &name,
			Type:             v.Type,
			Value:            &value,
			Version:          v.Number,
			KeyId:            optional(v.KeyID),
			Tier:             v.Tier,
			DataType:         &v.DataType,
			Description:      optional(v.Description),
			AllowedPattern:   optional(v.AllowedPattern),
			Labels:           append([]string{}, found.labels(v.Number)...),
			Policies:         inlinePolicies(v.Policies),
			LastModifiedDate: &v.Modified,
			LastModifiedUser: &v.ModifiedBy,
		})
	}
	if more {
		out.NextToken = token(asked, strconv.FormatInt(versions[len(versions)-1].Number, 10))
	}
	return out, nil
}
