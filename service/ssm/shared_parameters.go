package ssm

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

const sharedBatch = 100 // parameters looked at in one transaction

// describeShared lists the parameters that other accounts share with the caller: those
// that their policies and the caller's own let it describe. What it has not been given is
// left out without a record, since it was not asked for.
//
// On AWS a parameter shared by PutResourcePolicy is listed once its resource share was
// promoted in AWS Resource Access Manager; without that service it is listed at once.
func (s *Service) describeShared(ctx context.Context, in *ssm.DescribeParametersInput, filters []filter, asked []byte, after string) (*ssm.DescribeParametersOutput, error) {
	request := caller.From(ctx)
	root := sharedPrefix(request.Region)
	if after != "" {
		after = root + after
	}
	out := &ssm.DescribeParametersOutput{Parameters: []types.ParameterMetadata{}}
	last := ""
	for {
		found, next, err := s.sharedBy(ctx, root, after, filters)
		if err != nil {
			return nil, err
		}
		for _, x := range found {
			allowed, err := s.mayDescribe(ctx, x.r, x.p)
			if err != nil {
				return nil, err
			}
			if !allowed {
				continue
			}
			if len(out.Parameters) == pageSize(in.MaxResults, describePage) {
				out.NextToken = token(asked, last)
				return out, nil
			}
			out.Parameters = append(out.Parameters, metadata(x.r.arn(), x.p))
			last = strings.TrimPrefix(x.r.sharedKey(), root)
		}
		if next == "" {
			return out, nil
		}
		after = next
	}
}

type sharedParameter struct {
	r *ref
	p *parameter
}

// sharedBy returns those of other accounts behind after that pass the filters, and where
// to go on, "" at the end.
func (s *Service) sharedBy(ctx context.Context, root, after string, filters []filter) (found []sharedParameter, next string, err error) {
	request := caller.From(ctx)
	err = s.store.View(ctx, func(tx store.Tx) error {
		found, next = nil, ""
		seen := 0
		for entry, err := range tx.Scan(root, after) {
			if err != nil {
				return err
			}
			if seen++; seen > sharedBatch {
				return nil
			}
			next = entry.Key
			account, id, _ := strings.Cut(strings.TrimPrefix(entry.Key, root), "/")
			if account == request.Principal.Account {
				continue
			}
			r := &ref{account: account, region: request.Region, id: id}
			p, err := s.parameters.Get(tx, r.key())
			if errors.Is(err, store.ErrNotFound) {
				continue // deleted
			}
			if err != nil {
				return err
			}
			keeps := len(p.ResourcePolicies) > 0
			for i := range filters {
				keeps = keeps && filters[i].keeps(p, &p.Current)
			}
			if keeps {
				found = append(found, sharedParameter{r, p})
			}
		}
		next = ""
		return nil
	})
	return found, next, err
}

// mayDescribe records what it allows.
func (s *Service) mayDescribe(ctx context.Context, r *ref, p *parameter) (bool, error) {
	source, err := p.policy()
	if err != nil {
		return false, err
	}
	access := &authz.Access{
		Action: "ssm:DescribeParameters", Resource: r.arn(), Account: r.account,
		Tags: p.Tags, Policy: source, Kind: policy.Resource,
	}
	if decision, err := s.authz.Decide(ctx, access); err != nil || !decision.Allowed {
		return false, err
	}
	var denied *authz.Denied
	err = s.authz.Authorize(ctx, access)
	if errors.As(err, &denied) { // revoked just now
		return false, nil
	}
	return err == nil, err
}
