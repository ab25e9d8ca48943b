package cloudtrail_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	api "github.com/aws/aws-sdk-go-v2/service/cloudtrail"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/cloudtrail"
)

// A page opens those files of the audit that it needs, of however many there are.
func TestPagesOpenTheFilesTheyNeed(t *testing.T) {
	t.Parallel()
	const account, region, n = "111122223333", "eu-west-1", 600
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(i int) *time.Time { return aws.Time(start.Add(time.Duration(i) * time.Hour)) }
	root := &caller.Principal{Type: caller.Account, Account: account, ARN: "arn:aws:iam::" + account + ":root"}
	path := filepath.Join(t.TempDir(), "audit.log")
	trail, err := audit.Open(path, audit.Options{Size: 20_000, Delay: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	for i := range n {
		err := trail.Record(t.Context(), audit.Record{
			Time: *at(i), Service: "secretsmanager", Name: "ListSecrets", Operation: "ListSecrets", Region: region, RequestID: fmt.Sprint(i), Principal: root, Account: account, Undecided: true,
		})
		if i%10 == 0 && err == nil { // so that a file is put aside between
			err = trail.Flush(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := trail.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	service := cloudtrail.New(cloudtrail.Config{Trail: trail, Authz: authz.New(authz.Config{}), Now: func() time.Time { return *at(n) }})
	ctx := caller.With(t.Context(), &caller.Request{Principal: root, Region: region, Service: "cloudtrail", Time: *at(n)})
	look := func() (found []int) {
		t.Helper()
		in := &api.LookupEventsInput{StartTime: at(290), EndTime: at(310), MaxResults: aws.Int32(5)}
		for {
			out, err := service.LookupEvents(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range out.Events {
				found = append(found, int(e.EventTime.Sub(start)/time.Hour))
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return found
			}
		}
	}
	var want []int
	for i := 310; i >= 290; i-- {
		want = append(want, i)
	}
	if found := look(); !slices.Equal(found, want) {
		t.Fatalf("found %v, want %v", found, want)
	}

	aside, err := filepath.Glob(path + ".0*")
	if err != nil {
		t.Fatal(err)
	}
	spoiled := 0
	for _, file := range aside {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var hours []int
		for line := range strings.Lines(string(text)) {
			e, err := audit.Parse(bytes.TrimSpace([]byte(line)))
			if err != nil {
				t.Fatal(err)
			}
			hours = append(hours, int(e.Time.Sub(start)/time.Hour))
		}
		if slices.Max(hours) >= 289 && slices.Min(hours) <= 311 {
			continue
		}
		if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil { // to read a directory fails
			t.Fatal(err)
		}
		spoiled++
	}
	if spoiled < 15 {
		t.Fatalf("%d of %d files are not needed", spoiled, len(aside))
	}
	if found := look(); !slices.Equal(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
}
