package ssm

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

const describePage = 10

// DescribeParameters lists parameters, without their values.
func (s *Service) DescribeParameters(ctx context.Context, in *ssm.DescribeParametersInput) (*ssm.DescribeParametersOutput, error) {
	request := caller.From(ctx)
	everything := "arn:aws:ssm:" + request.Region + ":" + request.Principal.Account + ":*"
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "ssm:DescribeParameters", Resource: everything}); err != nil {
		return nil, err
	}

	filters, err := describedBy(in)
	if err != nil {
		return nil, err
	}
	asked := question("describe", in.Filters, in.ParameterFilters, in.Shared)
	after, err := parseToken(asked, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeParametersOutput{Parameters: []types.ParameterMetadata{}}
	if aws.ToBool(in.Shared) {
		return out, nil // those of other accounts: no parameter can be shared
	}

	path := ref{account: request.Principal.Account, region: request.Region}
	last := ""
	add := func(id string, p *parameter) (bool, error) {
		for _, f := range filters {
			if !f.keeps(p, &p.Current) {
				return true, nil
			}
		}
		if len(out.Parameters) == pageSize(in.MaxResults, describePage) {
			out.NextToken = token(asked, last)
			return false, nil
		}
		out.Parameters = append(out.Parameters, metadata(arn(path.account, path.region, id), p))
		last = id
		return true, nil
	}
	err = s.store.View(ctx, func(tx store.Tx) error {
		names, exact := exactNames(filters)
		for _, id := range names {
			r := ref{account: path.account, region: path.region, id: id}
			p, err := s.parameters.Get(tx, r.key())
			if id <= after || err == store.ErrNotFound {
				continue
			}
			if err != nil {
				return err
			}
			if goOn, err := add(id, p); err != nil || !goOn {
				return err
			}
		}
		if exact {
			return nil
		}
		deep := narrow(&path, filters)
		return s.walk(tx, &path, after, deep, add)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// describedBy returns the filters of a request, the older sort included.
func describedBy(in *ssm.DescribeParametersInput) ([]filter, error) {
	if len(in.Filters) > 0 && len(in.ParameterFilters) > 0 {
		return nil, validation("You can use either Filters or ParameterFilters in a single request.")
	}
	filters, err := parseFilters(in.ParameterFilters, describeFilters, "Path", "Name", "Type", "KeyId", "Tier")
	if err != nil {
		return nil, err
	}
	for _, f := range in.Filters {
		option := equals
		if f.Key == types.ParametersFilterKeyName {
			option = beginsWith
		}
		filters = append(filters, filter{key: string(f.Key), option: option, values: f.Values})
	}
	return filters, nil
}

// exactNames returns the ids that a filter by name leaves, in order, if there is one.
func exactNames(filters []filter) (ids []string, exact bool) {
	for _, f := range filters {
		if f.key == "Name" && f.option == equals {
			for _, name := range f.values {
				ids = append(ids, strings.TrimPrefix(name, "/"))
			}
			slices.Sort(ids)
			return slices.Compact(ids), true
		}
	}
	return nil, false
}

// narrow sets path to what a filter by a single path leaves to look at, and says whether
// that is all that lies below.
func narrow(path *ref, filters []filter) (deep bool) {
	for _, f := range filters {
		if f.key == "Path" && len(f.values) == 1 {
			path.id = strings.Trim(f.values[0], "/")
			return f.option == recursive
		}
	}
	return true
}

func metadata(arn string, p *parameter) types.ParameterMetadata {
	v := &p.Current
	return types.ParameterMetadata{
		ARN:              &arn,
		Name:             &p.Name,
		Type:             v.Type,
		KeyId:            optional(v.KeyID),
		Tier:             v.Tier,
		DataType:         &v.DataType,
		Description:      optional(v.Description),
		AllowedPattern:   optional(v.AllowedPattern),
		Policies:         inlinePolicies(v.Policies),
		Version:          v.Number,
		LastModifiedDate: &v.Modified,
		LastModifiedUser: &v.ModifiedBy,
	}
}
