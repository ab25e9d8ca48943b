package ssm

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

const byPathPage = 10

// GetParametersByPath returns the parameters one level below a path, or with Recursive
// all of them. The policy that counts is that on the path: a Deny on a parameter below it
// does not hide that, and neither here nor on AWS are parameters asked about one by one.
func (s *Service) GetParametersByPath(ctx context.Context, in *ssm.GetParametersByPathInput) (*ssm.GetParametersByPathOutput, error) {
	path := parsePath(ctx, *in.Path)
	deep := aws.ToBool(in.Recursive)
	err := s.authz.Authorize(ctx, &authz.Access{
		Action: "ssm:GetParametersByPath", Resource: path.arn(),
		Conditions: map[string][]string{"ssm:Recursive": {strconv.FormatBool(deep)}},
	})
	if err != nil {
		return nil, err
	}

	if path.err != nil {
		return nil, path.err
	}
	filters, err := parseFilters(in.ParameterFilters, byPathFilters, "Type", "KeyId")
	if err != nil {
		return nil, err
	}
	asked := question("by path", path.id, deep, in.ParameterFilters)
	after, err := parseToken(asked, in.NextToken)
	if err != nil {
		return nil, err
	}

	type item struct {
		r ref
		x *selected
	}
	var items []item
	var next *string
	err = s.store.View(ctx, func(tx store.Tx) error {
		return s.walk(tx, &path, after, deep, func(id string, p *parameter) (bool, error) {
			r := ref{account: path.account, region: path.region, id: id}
			x, err := s.choose(tx, &r, p, filters)
			if err != nil || x == nil {
				return true, err
			}
			if len(items) == pageSize(in.MaxResults, byPathPage) {
				next = token(asked, items[len(items)-1].r.id)
				return false, nil
			}
			items = append(items, item{r, x})
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}

	out := &ssm.GetParametersByPathOutput{Parameters: []types.Parameter{}, NextToken: next}
	for _, i := range items {
		p := i.r.answer(i.x)
		if aws.ToBool(in.WithDecryption) {
			if err := s.decrypt(ctx, i.r.arn(), i.x.version, p); err != nil {
				return nil, err
			}
		}
		out.Parameters = append(out.Parameters, *p)
	}
	return out, nil
}

// choose returns the version of p that passes the filters, nil for none: the latest, or
// with a filter by label the one with the label.
func (s *Service) choose(tx store.Tx, r *ref, p *parameter, filters []filter) (*selected, error) {
	x := &selected{p, &p.Current}
	for _, f := range filters {
		if f.key != "Label" {
			continue
		}
		at := slices.IndexFunc(f.values, func(label string) bool { return p.Labels[label] > 0 })
		if at < 0 {
			return nil, nil
		}
		r.selector = f.values[at]
		var err error
		if x.version, err = s.readVersion(tx, r, p, p.Labels[r.selector]); err != nil {
			return nil, err
		}
	}
	for _, f := range filters {
		if !f.keeps(p, x.version) {
			return nil, nil
		}
	}
	return x, nil
}

// walk calls fn for the parameters below path whose id is greater than after, in order,
// until fn returns false. Without deep, what lies further below is passed over unread.
func (s *Service) walk(tx store.Tx, path *ref, after string, deep bool, fn func(id string, p *parameter) (bool, error)) error {
	root := prefix(path.account, path.region)
	start := root
	if path.id != "" {
		start += path.id + "/"
	}
	if after != "" {
		after = root + after
	}
	for more := true; more; {
		more = false
		for row, err := range s.parameters.Scan(tx, start, after) {
			if err != nil {
				return err
			}
			child, _, further := strings.Cut(strings.TrimPrefix(row.Key, start), "/")
			if further && !deep {
				after, more = start+child+"/\xff", true // names have no such byte
				break
			}
			goOn, err := fn(strings.TrimPrefix(row.Key, root), row.Value)
			if err != nil || !goOn {
				return err
			}
		}
	}
	return nil
}
