package logs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// CreateLogGroup makes a log group, whose events never expire until it is told otherwise.
// With tags it takes the right to logs:TagResource as well.
func (s *Service) CreateLogGroup(ctx context.Context, in *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error) {
	r := named(ctx, *in.LogGroupName)
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "logs:CreateLogGroup", Resource: r.access(r.name, ""), RequestTags: in.Tags}); err != nil {
		return nil, err
	}
	if len(in.Tags) > 0 {
		if err := s.authz.Authorize(ctx, &authz.Access{Action: "logs:TagResource", Resource: r.arn(), RequestTags: in.Tags}); err != nil {
			return nil, err
		}
	}
	switch {
	case strings.HasPrefix(r.name, "aws/"):
		return nil, invalid("Log groups starting with AWS/ are reserved for AWS.")
	case in.LogGroupClass != "" && in.LogGroupClass != types.LogGroupClassStandard:
		return nil, unsupported("logGroupClass " + string(in.LogGroupClass))
	case aws.ToBool(in.DeletionProtectionEnabled):
		return nil, unsupported("deletionProtectionEnabled")
	}
	if err := checkTags(r, in.Tags); err != nil {
		return nil, err
	}
	g := &group{ID: newID(), Name: r.name, Created: s.now().UnixMilli(), Tags: in.Tags}
	if in.KmsKeyId != nil {
		key, err := s.checkKey(ctx, r, *in.KmsKeyId)
		if err != nil {
			return nil, err
		}
		g.KmsKeyID = key
	}
	err := s.store.Update(ctx, func(tx store.Tx) error {
		switch _, err := s.groups.Get(tx, r.key()); {
		case err == nil:
			return groupExists()
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		return s.groups.Put(tx, r.key(), g)
	})
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.CreateLogGroupOutput{}, nil
}

// DeleteLogGroup deletes a log group with its streams and their events.
func (s *Service) DeleteLogGroup(ctx context.Context, in *cloudwatchlogs.DeleteLogGroupInput) (*cloudwatchlogs.DeleteLogGroupOutput, error) {
	r := named(ctx, *in.LogGroupName)
	var gone string
	err := s.withGroup(ctx, r, door{action: "logs:DeleteLogGroup"}, func(tx store.Tx, g *group) error {
		gone = r.prefix("gone") + g.ID
		if err := tx.Put(gone, []byte{1}); err != nil {
			return err
		}
		return s.groups.Delete(tx, r.key())
	})
	if err != nil {
		return nil, err
	}
	s.removeNow(ctx, gone)
	return &cloudwatchlogs.DeleteLogGroupOutput{}, nil
}

// DescribeLogGroups lists log groups in the order of their names: all, or those whose name
// begins with or contains something, or those that are named.
func (s *Service) DescribeLogGroups(ctx context.Context, in *cloudwatchlogs.DescribeLogGroupsInput) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	p := here(ctx)
	if err := s.authz.Authorize(ctx, &authz.Access{Action: "logs:DescribeLogGroups", Resource: p.access("", "")}); err != nil {
		return nil, err
	}
	switch {
	case aws.ToBool(in.IncludeLinkedAccounts):
		return nil, unsupported("includeLinkedAccounts")
	case len(in.AccountIdentifiers) > 0 && !slices.Equal(in.AccountIdentifiers, []string{p.account}):
		return nil, unsupported("accountIdentifiers of other accounts")
	case in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil:
		return nil, invalid("LogGroupNamePrefix and LogGroupNamePattern are mutually exclusive parameters.")
	case len(in.LogGroupIdentifiers) > 0 && (in.LogGroupNamePrefix != nil || in.LogGroupNamePattern != nil || in.NextToken != nil || in.Limit != nil):
		return nil, invalid("LogGroupIdentifiers cannot be used with LogGroupNamePrefix, LogGroupNamePattern, Limit or NextToken.")
	}
	wanted := map[string]bool{}
	for _, identifier := range in.LogGroupIdentifiers {
		r := identified(ctx, nil, &identifier)
		if r.err != nil {
			return nil, r.err
		}
		if r.account == p.account {
			wanted[r.name] = true
		}
	}
	asked := question(p, in.LogGroupNamePrefix, in.LogGroupNamePattern, in.LogGroupClass)
	after, err := parseToken(asked, in.NextToken)
	if err != nil {
		return nil, err
	}
	prefix, part := p.prefix("group"), strings.ToLower(aws.ToString(in.LogGroupNamePattern))
	if after != "" {
		after = prefix + after
	}
	out := &cloudwatchlogs.DescribeLogGroupsOutput{LogGroups: []types.LogGroup{}}
	err = s.store.View(ctx, func(tx store.Tx) error {
		for row, err := range s.groups.Scan(tx, prefix+aws.ToString(in.LogGroupNamePrefix), after) {
			g := row.Value
			switch {
			case err != nil:
				return err
			case len(wanted) > 0 && !wanted[g.Name], !strings.Contains(strings.ToLower(g.Name), part),
				in.LogGroupClass != "" && in.LogGroupClass != types.LogGroupClassStandard:
				continue
			case len(out.LogGroups) == pageSize(in.Limit, 50):
				out.NextToken = token(asked, *out.LogGroups[len(out.LogGroups)-1].LogGroupName)
				return nil
			}
			out.LogGroups = append(out.LogGroups, p.describe(g))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (p place) describe(g *group) types.LogGroup {
	d := types.LogGroup{
		LogGroupName: &g.Name, Arn: aws.String(p.arn(g.Name) + ":*"), LogGroupArn: aws.String(p.arn(g.Name)),
		CreationTime: &g.Created, MetricFilterCount: aws.Int32(0), StoredBytes: &g.Bytes, LogGroupClass: types.LogGroupClassStandard,
	}
	if g.Retention != 0 {
		d.RetentionInDays = &g.Retention
	}
	if g.KmsKeyID != "" {
		d.KmsKeyId = &g.KmsKeyID
	}
	return d
}
