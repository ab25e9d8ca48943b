package ssm

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/malote/malote/internal/lazyregexp"
)

const maxLabels = 10 // on a version

// A label is letters, digits, periods, hyphens and underscores, and does not begin with a
// digit.
var labelPattern = lazyregexp.New(`^[a-zA-Z_.-][a-zA-Z0-9_.-]{0,99}$`)

func validLabel(label string) bool {
	return labelPattern.MatchString(label) && !hasPrefix(label, "aws") && !hasPrefix(label, "ssm")
}

// LabelParameterVersion puts labels on a version, the latest by default. A label that is
// on another version moves; those that cannot be labels are listed apart.
func (s *Service) LabelParameterVersion(ctx context.Context, in *ssm.LabelParameterVersionInput) (*ssm.LabelParameterVersionOutput, error) {
	r := parseName(ctx, *in.Name)
	found, err := s.authorized(ctx, "ssm:LabelParameterVersion", &r)
	if err != nil {
		return nil, err
	}

	out := &ssm.LabelParameterVersionOutput{}
	err = s.change(ctx, &r, found.parameter, func(p *parameter) error {
		*out = ssm.LabelParameterVersionOutput{ParameterVersion: p.Current.Number, InvalidLabels: []string{}}
		if in.ParameterVersion != nil {
			out.ParameterVersion = *in.ParameterVersion
		}
		if out.ParameterVersion < p.Oldest || out.ParameterVersion > p.Current.Number {
			return versionNotFound(out.ParameterVersion, p.Name)
		}
		for _, label := range in.Labels {
			if !validLabel(label) {
				out.InvalidLabels = append(out.InvalidLabels, label)
				continue
			}
			if p.Labels == nil {
				p.Labels = make(map[string]int64)
			}
			p.Labels[label] = out.ParameterVersion
		}
		if len(p.labels(out.ParameterVersion)) > maxLabels {
			return labelLimit()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UnlabelParameterVersion takes labels off a version. Those that are not on it are
// listed apart.
func (s *Service) UnlabelParameterVersion(ctx context.Context, in *ssm.UnlabelParameterVersionInput) (*ssm.UnlabelParameterVersionOutput, error) {
	r := parseName(ctx, *in.Name)
	found, err := s.authorized(ctx, "ssm:UnlabelParameterVersion", &r)
	if err != nil {
		return nil, err
	}

	out := &ssm.UnlabelParameterVersionOutput{}
	err = s.change(ctx, &r, found.parameter, func(p *parameter) error {
		*out = ssm.UnlabelParameterVersionOutput{RemovedLabels: []string{}, InvalidLabels: []string{}}
		if number := *in.ParameterVersion; number < p.Oldest || number > p.Current.Number {
			return versionNotFound(number, p.Name)
		}
		for _, label := range in.Labels {
			if on, ok := p.Labels[label]; !ok || on != *in.ParameterVersion {
				out.InvalidLabels = append(out.InvalidLabels, label)
				continue
			}
			delete(p.Labels, label)
			out.RemovedLabels = append(out.RemovedLabels, label)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
