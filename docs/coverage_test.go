package docs_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/gateway"
	"github.com/malote/malote/malotetest"
)

var update = flag.Bool("update", false, "write the documents")

// titles are the services as AWS calls them.
var titles = map[string]string{
	"secretsmanager": "AWS Secrets Manager", "ssm": "AWS Systems Manager: Parameter Store", "kms": "AWS Key Management Service",
	"iam": "AWS Identity and Access Management", "sts": "AWS Security Token Service", "ecs": "Amazon Elastic Container Service",
	"logs": "Amazon CloudWatch Logs", "cloudtrail": "AWS CloudTrail", "s3": "Amazon Simple Storage Service",
	"organizations": "AWS Organizations",
}

// TestCoverage compares docs/coverage.md with the method sets of the services.
func TestCoverage(t *testing.T) {
	t.Parallel()
	coverage, err := gateway.Coverage(malotetest.New(t).Services()...)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Coverage\n\nEvery operation of each service's API. What is not there answers `UnknownOperationException` (`InvalidAction` of IAM and STS, `NotImplemented` of S3).\nMade by `go generate ./docs` from the services themselves.\n")
	for _, service := range coverage {
		title, ok := titles[service.Service]
		if !ok {
			t.Errorf("no title for %s", service.Service)
		}
		fmt.Fprintf(&b, "\n## %s\n\n`%s` %s, %d of %d operations.\n\n", title, service.Service, service.Version, service.Implemented(), len(service.Operations))
		var done, open []string
		for _, op := range service.Operations {
			if op.Implemented {
				done = append(done, op.Name)
			} else {
				open = append(open, op.Name)
			}
		}
		fmt.Fprintf(&b, "**Works:** %s.\n", strings.Join(done, ", "))
		if len(open) > 0 {
			fmt.Fprintf(&b, "\n**Not there:** %s.\n", strings.Join(open, ", "))
		}
	}
	if *update {
		if err := os.WriteFile("coverage.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile("coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(written)); diff != "" {
		t.Errorf("coverage.md is stale: go generate ./docs (-services +file)\n%s", diff)
	}
}
