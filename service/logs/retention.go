package logs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// retentions are the days that events can be kept.
//
// https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// PutRetentionPolicy sets for how many days the events of a log group are kept. Those that
// are older are not answered from then on.
func (s *Service) PutRetentionPolicy(ctx context.Context, in *cloudwatchlogs.PutRetentionPolicyInput) (*cloudwatchlogs.PutRetentionPolicyOutput, error) {
	err := s.changeGroup(ctx, named(ctx, *in.LogGroupName), door{action: "logs:PutRetentionPolicy"}, func(g *group) error {
		if !slices.Contains(retentions, *in.RetentionInDays) {
			return invalid("1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: %v", *in.RetentionInDays, retentions)
		}
		g.Retention = *in.RetentionInDays
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.PutRetentionPolicyOutput{}, nil
}

// DeleteRetentionPolicy keeps the events of a log group for ever.
func (s *Service) DeleteRetentionPolicy(ctx context.Context, in *cloudwatchlogs.DeleteRetentionPolicyInput) (*cloudwatchlogs.DeleteRetentionPolicyOutput, error) {
	err := s.changeGroup(ctx, named(ctx, *in.LogGroupName), door{action: "logs:DeleteRetentionPolicy"}, func(g *group) error {
		g.Retention = 0
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.DeleteRetentionPolicyOutput{}, nil
}
