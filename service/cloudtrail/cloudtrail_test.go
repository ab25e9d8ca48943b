package cloudtrail_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/malotetest"
)

// lookup waits until an event that was caused is there: the log is a moment behind.
func lookup(t *testing.T, client *cloudtrail.Client, in *cloudtrail.LookupEventsInput, atLeast int) []types.Event {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		out, err := client.LookupEvents(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Events) >= atLeast || time.Now().After(deadline) {
			return out.Events
		}
	}
}

func by(key types.LookupAttributeKey, value string) []types.LookupAttribute {
	return []types.LookupAttribute{{AttributeKey: key, AttributeValue: aws.String(value)}}
}

func TestLookupEvents(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	secrets, trail := secretsmanager.NewFromConfig(sys.Config()), cloudtrail.NewFromConfig(sys.Config())
	app := sys.Role(t, "app", malotetest.Allow("*", "secretsmanager:DescribeSecret"))
	made, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("prod/db"), SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("prod/db")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := secretsmanager.NewFromConfig(app).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: made.ARN}); err == nil {
		t.Fatal("the role may read the secret")
	}

	reads := lookup(t, trail, &cloudtrail.LookupEventsInput{LookupAttributes: by(types.LookupAttributeKeyEventName, "GetSecretValue")}, 4)
	if len(reads) != 4 {
		t.Fatalf("%d events, want 4", len(reads))
	}
	denied, read := reads[0], reads[3] // the newest is first
	if *denied.Username != "test" || !strings.Contains(*denied.CloudTrailEvent, `"errorCode":"AccessDenied"`) || !strings.Contains(*denied.CloudTrailEvent, `"sessionIssuer":{"type":"Role"`) {
		t.Errorf("the role's event: %s", *denied.CloudTrailEvent)
	}
	if *read.EventName != "GetSecretValue" || *read.EventSource != "secretsmanager.amazonaws.com" || *read.ReadOnly != "true" || *read.Username != "admin" || read.AccessKeyId == nil ||
		len(*read.EventId) != 36 || time.Since(*read.EventTime).Abs() > time.Minute || len(read.Resources) != 1 || *read.Resources[0].ResourceName != *made.ARN || *read.Resources[0].ResourceType != "AWS::SecretsManager::Secret" {
		t.Errorf("event = %+v", read)
	}
	var record struct {
		EventID           string
		RequestParameters map[string]any
	}
	if err := json.Unmarshal([]byte(*read.CloudTrailEvent), &record); err != nil || record.EventID != *read.EventId || record.RequestParameters["secretId"] != "prod/db" {
		t.Errorf("record = %+v, %v", record, err)
	}

	for _, tt := range []struct {
		key   types.LookupAttributeKey
		value string
		want  int
	}{
		{types.LookupAttributeKeyEventId, *read.EventId, 1},
		{types.LookupAttributeKeyEventName, "CreateSecret", 1},
		{types.LookupAttributeKeyEventName, "GetSecretValu", 0},
		{types.LookupAttributeKeyResourceName, *made.ARN, 5},
		{types.LookupAttributeKeyResourceType, "AWS::SecretsManager::Secret", 5},
		{types.LookupAttributeKeyEventSource, "secretsmanager.amazonaws.com", 5},
		{types.LookupAttributeKeyAccessKeyId, *denied.AccessKeyId, 1},
		{types.LookupAttributeKeyUsername, "test", 1},
		{types.LookupAttributeKeyUsername, `te"st\`, 0},
	} {
		if got := lookup(t, trail, &cloudtrail.LookupEventsInput{LookupAttributes: by(tt.key, tt.value)}, tt.want); len(got) != tt.want {
			t.Errorf("by %s %s: %d events, want %d", tt.key, tt.value, len(got), tt.want)
		}
	}
	if got := lookup(t, trail, &cloudtrail.LookupEventsInput{LookupAttributes: by(types.LookupAttributeKeyReadOnly, "false")}, 1); len(got) == 0 || *got[0].ReadOnly != "false" {
		t.Errorf("by ReadOnly: %+v", got)
	}

	t.Run("pages", func(t *testing.T) {
		pages := cloudtrail.NewLookupEventsPaginator(trail, &cloudtrail.LookupEventsInput{MaxResults: aws.Int32(2), LookupAttributes: by(types.LookupAttributeKeyEventName, "GetSecretValue")})
		var ids []string
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				ids = append(ids, *e.EventId)
			}
		}
		if len(ids) != 4 || ids[0] != *denied.EventId || ids[3] != *read.EventId {
			t.Errorf("pages have %v", ids)
		}
	})
	t.Run("times", func(t *testing.T) {
		soon := time.Now().Add(time.Hour)
		if out, err := trail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{StartTime: &soon}); err != nil || len(out.Events) != 0 {
			t.Errorf("events to come: %v, %v", out, err)
		}
		ago := time.Now().Add(-time.Hour)
		if out, err := trail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{EndTime: &ago}); err != nil || len(out.Events) != 0 {
			t.Errorf("events before the first: %v, %v", out, err)
		}
	})
	t.Run("another region", func(t *testing.T) {
		there := sys.Config()
		there.Region = "eu-west-1"
		if out, err := cloudtrail.NewFromConfig(there).LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{LookupAttributes: by(types.LookupAttributeKeyEventName, "GetSecretValue")}); err != nil || len(out.Events) != 0 {
			t.Errorf("events of another region: %v, %v", out, err)
		}
	})
	t.Run("insights", func(t *testing.T) {
		if out, err := trail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{EventCategory: types.EventCategoryInsight}); err != nil || len(out.Events) != 0 {
			t.Errorf("insights: %v, %v", out, err)
		}
	})
}

func TestLookupEventsRefuses(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	trail := cloudtrail.NewFromConfig(sys.Config())
	first, err := trail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for first.NextToken == nil {
		if first, err = trail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{MaxResults: aws.Int32(1)}); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	before := now.Add(-time.Minute)
	for name, tt := range map[string]struct {
		in   cloudtrail.LookupEventsInput
		code string
	}{
		"an end before the start": {cloudtrail.LookupEventsInput{StartTime: &now, EndTime: &before}, "InvalidTimeRangeException"},
		"two attributes":          {cloudtrail.LookupEventsInput{LookupAttributes: append(by(types.LookupAttributeKeyEventName, "a"), by(types.LookupAttributeKeyEventId, "b")...)}, "InvalidLookupAttributesException"},
		"an insight's user":       {cloudtrail.LookupEventsInput{EventCategory: types.EventCategoryInsight, LookupAttributes: by(types.LookupAttributeKeyUsername, "a")}, "InvalidLookupAttributesException"},
		"no token":                {cloudtrail.LookupEventsInput{NextToken: aws.String("hello")}, "InvalidNextTokenException"},
		"another's token":         {cloudtrail.LookupEventsInput{NextToken: first.NextToken, LookupAttributes: by(types.LookupAttributeKeyEventName, "a")}, "InvalidNextTokenException"},
		"too many":                {cloudtrail.LookupEventsInput{MaxResults: aws.Int32(51)}, "ValidationException"},
		"an attribute of ours":    {cloudtrail.LookupEventsInput{LookupAttributes: by("Task", "a")}, "ValidationException"},
	} {
		_, err := trail.LookupEvents(t.Context(), &tt.in)
		if api := smithy.APIError(nil); !errors.As(err, &api) || api.ErrorCode() != tt.code {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
	if out, err := trail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{NextToken: first.NextToken}); err != nil || out == nil {
		t.Errorf("its own token: %v", err)
	}
	nobody := cloudtrail.NewFromConfig(sys.User(t, "nobody", malotetest.Allow("*", "cloudtrail:DescribeTrails")))
	if _, err := nobody.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{}); err == nil || !strings.Contains(err.Error(), "is not authorized to perform: cloudtrail:LookupEvents") {
		t.Errorf("without rights: %v", err)
	}
	if _, err := trail.DescribeTrails(t.Context(), &cloudtrail.DescribeTrailsInput{}); err == nil || !strings.Contains(err.Error(), "UnknownOperationException") {
		t.Errorf("DescribeTrails: %v", err)
	}
}

// A denial does not tell a stranger whether a secret is there, and its event does not either.
func TestLookupEventsOfAnotherAccount(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	const account = "999988887777"
	owner := sys.Other(t, account)
	there, err := secretsmanager.NewFromConfig(owner).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("prod/db"), SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	secrets, trail := secretsmanager.NewFromConfig(sys.Config()), cloudtrail.NewFromConfig(sys.Config())
	own, err := secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("own"), SecretString: aws.String(sys.Canary())})
	if err != nil {
		t.Fatal(err)
	}
	prefix := strings.TrimSuffix(*own.ARN, (*own.ARN)[strings.Index(*own.ARN, malotetest.Account):]) + account + ":secret:prod/"
	for _, name := range []string{"db", "no"} { // of which the second is not there
		if _, err := secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(prefix + name)}); err == nil {
			t.Fatal("a stranger may read the secret")
		}
		if _, err := secrets.BatchGetSecretValue(t.Context(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{prefix + name, *own.ARN}}); err != nil {
			t.Fatal(err)
		}
	}

	for _, operation := range []string{"GetSecretValue", "BatchGetSecretValue"} {
		events := lookup(t, trail, &cloudtrail.LookupEventsInput{LookupAttributes: by(types.LookupAttributeKeyEventName, operation)}, 2)
		if len(events) != 2 {
			t.Fatalf("%d events of %s, want 2", len(events), operation)
		}
		var shown [2]string
		for i, e := range events { // the newest, of what is not there, is first
			var record map[string]any
			if err := json.Unmarshal([]byte(*e.CloudTrailEvent), &record); err != nil {
				t.Fatal(err)
			}
			for _, member := range []string{"eventID", "eventTime", "requestID", "sequence", "previousHash"} {
				delete(record, member)
			}
			text, err := json.Marshal(record)
			if err != nil {
				t.Fatal(err)
			}
			shown[i] = strings.ReplaceAll(string(text), prefix+"no", prefix+"db")
			want := map[string]int{"GetSecretValue": 0, "BatchGetSecretValue": 1}[operation]
			if len(e.Resources) != want || want == 1 && *e.Resources[0].ResourceName != *own.ARN {
				t.Errorf("%s: resources = %+v", operation, e.Resources)
			}
			if want == 1 && strings.Count(*e.CloudTrailEvent, *own.ARN) < 3 { // asked for, decided about, named
				t.Errorf("%s: the account's own secret is not in %s", operation, *e.CloudTrailEvent)
			}
		}
		if shown[0] != shown[1] || strings.Contains(shown[1], *there.ARN) {
			t.Errorf("%s of what is not there and of what is:\n%s\n%s", operation, shown[0], shown[1])
		}
	}
	for _, attribute := range [][]types.LookupAttribute{by(types.LookupAttributeKeyResourceName, *there.ARN), by(types.LookupAttributeKeyResourceName, prefix+"no")} {
		if out, err := trail.LookupEvents(t.Context(), &cloudtrail.LookupEventsInput{LookupAttributes: attribute}); err != nil || len(out.Events) != 0 {
			t.Errorf("by %s: %v, %v", *attribute[0].AttributeValue, out, err)
		}
	}
	if seen := lookup(t, cloudtrail.NewFromConfig(owner), &cloudtrail.LookupEventsInput{LookupAttributes: by(types.LookupAttributeKeyResourceName, *there.ARN)}, 2); len(seen) != 2 {
		t.Errorf("the owner sees %d events, want its own and the stranger's", len(seen))
	}
}
