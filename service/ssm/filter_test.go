package ssm

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
)

// The SDK drops the message of InvalidFilterKey, so clients cannot be asked for it.
func TestInvalidFilterKey(t *testing.T) {
	t.Parallel()
	by := func(keys ...string) (filters []types.ParameterStringFilter) {
		for _, key := range keys {
			filters = append(filters, types.ParameterStringFilter{Key: aws.String(key), Values: []string{"x"}})
		}
		return filters
	}
	for _, tt := range []struct {
		filters []types.ParameterStringFilter
		takes   map[string][]string
		names   []string
		want    string
	}{
		{by("Name"), byPathFilters, []string{"Type", "KeyId"}, "The following filter key is not valid: Name. Valid filter keys include: [Type, KeyId]."},
		{by("tag:"), describeFilters, []string{"Path", "Name"}, "The following filter key is not valid: tag:. Valid filter keys include: [Path, Name]."},
		{by("Name:x"), describeFilters, []string{"Path", "Name"}, "The following filter key is not valid: Name:x. Valid filter keys include: [Path, Name]."},
		{by("Name", "tag:a", "Name"), describeFilters, nil, "The following filter key is specified more than once: Name."},
	} {
		_, err := parseFilters(tt.filters, tt.takes, tt.names...)
		api, ok := err.(smithy.APIError)
		if !ok || api.ErrorCode() != "InvalidFilterKey" || api.ErrorMessage() != tt.want {
			t.Errorf("parseFilters(%s...) = %v, want InvalidFilterKey: %s", *tt.filters[0].Key, err, tt.want)
		}
	}
}
