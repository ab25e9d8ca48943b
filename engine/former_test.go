package engine

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
)

// What containers have, and are to have, is written down before they have it, once and without end.
func TestVersionsAreRemembered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := &task{engine: &Engine{Config: Config{Dir: dir}}, log: slog.New(slog.DiscardHandler), work: &acs.Task{ARN: "arn:aws:ecs:us-east-1:1:task/default/t"}}
	if err := os.Mkdir(one.engine.recordDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	one.record = &record{Task: *one.work}
	with := func(a, gone string) *resolved {
		files := map[string]string{"A": a, "SAME": "1", "log:token": "7", "REFERENCE": ""}
		if gone != "" {
			files["GONE"] = gone
		}
		return &resolved{versions: map[string]map[string]string{"files": files, "app": {"A": a}}}
	}
	formerly := func(has *resolved) string {
		t.Helper()
		records, err := readRecords(one.engine.recordDir())
		if err != nil || len(records) != 1 {
			t.Fatalf("%d records, %v", len(records), err)
		}
		return fmt.Sprint(records[0].formerly(has))
	}
	for _, tt := range []struct {
		old, next *resolved
		has       *resolved // if the engine is killed then
		want      string
	}{
		{with("1", "5"), with("2", ""), with("1", "5"), "[{files A 2}]"},
		{with("1", "5"), with("2", ""), with("2", ""), "[{files A 1} {files GONE 5}]"},
		{with("2", ""), with("3", ""), with("2", ""), "[{files A 1} {files GONE 5} {files A 3}]"}, // failed
		{with("2", ""), with("1", ""), with("1", ""), "[{files GONE 5} {files A 3} {files A 2}]"},
	} {
		one.record.remember(one, []string{"files"}, tt.old, tt.next)
		if got := formerly(tt.has); got != tt.want {
			t.Errorf("formerly %s, want %s", got, tt.want)
		}
	}
	for i := range maxFormer {
		one.record.remember(one, []string{"files"}, with(fmt.Sprint(10+i), ""), with(fmt.Sprint(11+i), ""))
	}
	if n := len(one.record.Former); n != maxFormer || one.record.Former[n-1] != (former{"files", "A", fmt.Sprint(10 + maxFormer)}) || one.record.Former[0].Version != "11" {
		t.Errorf("%d are remembered: %v", n, one.record.Former)
	}
}

// An engine has values again that an earlier one remembered by their versions. Those that cannot
// be had are told of, and keep no other away.
func TestRecall(t *testing.T) {
	t.Parallel()
	const secret, gone = "arn:aws:secretsmanager:us-east-1:1:secret:db-AbCdEf", "arn:aws:secretsmanager:us-east-1:1:secret:gone-AbCdEf"
	asked := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			SecretId, VersionId string
			Names               []string
		}
		json.NewDecoder(r.Body).Decode(&in)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		asked <- strings.Join(append(in.Names, in.SecretId, in.VersionId), " ")
		switch {
		case in.SecretId == gone:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"ResourceNotFoundException","message":"Secrets Manager can't find the specified secret value for VersionId: `+in.VersionId+`"}`)
		case in.SecretId != "":
			value, _ := json.Marshal(map[string]string{"password": "password of " + in.VersionId, "user": "user of " + in.VersionId, "kept": "kept of " + in.VersionId})
			json.NewEncoder(w).Encode(map[string]any{"ARN": in.SecretId, "SecretString": string(value), "VersionId": in.VersionId})
		default:
			var found []map[string]any
			for _, name := range in.Names {
				base, selector, _ := strings.Cut(name, ":")
				found = append(found, map[string]any{"Name": base, "Selector": ":" + selector, "Value": base + " of " + selector, "Version": 3, "ARN": "arn:aws:ssm:us-east-1:1:parameter" + base})
			}
			json.NewEncoder(w).Encode(map[string]any{"Parameters": found})
		}
	}))
	defer server.Close()
	var log strings.Builder
	one := &task{
		engine: &Engine{Config: Config{AWS: aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL}}, now: time.Now}, log: slog.New(slog.NewTextHandler(&log, nil)),
		work: &acs.Task{}, execution: &acs.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "x", RoleARN: "role"}, credentials: make(chan struct{}),
		defs: []types.ContainerDefinition{{
			Name: aws.String("files"), DockerLabels: map[string]string{"malote.expand.DB": "prefix=DB_ allow=user upper", "malote.expand.APP": "upper", "malote.optional.LOST": ""},
			Secrets: []types.Secret{
				{Name: aws.String("PASSWORD"), ValueFrom: aws.String(secret + ":password::")}, {Name: aws.String("DB"), ValueFrom: aws.String(secret)},
				{Name: aws.String("LOST"), ValueFrom: aws.String(gone)}, {Name: aws.String("KEY"), ValueFrom: aws.String("/key")}, {Name: aws.String("APP"), ValueFrom: aws.String("/app/")},
				{Name: aws.String("REFERENCE"), ValueFrom: aws.String("/aws/reference/secretsmanager/db")},
			},
		}},
		record: &record{Former: []former{
			{"files", "PASSWORD", "v1"}, {"files", "DB", "v2"}, {"files", "LOST", "v1"}, {"files", "KEY", "1"}, {"files", "APP:more/level", "2"},
			{"files", "REFERENCE", "v1"}, {"files", "PASSWORD", "v3"},
		}},
	}
	one.resolved = &resolved{versions: map[string]map[string]string{"files": {"PASSWORD": "v3", "DB": "v3", "KEY": "2"}}}
	one.effort = t.Context()
	one.recall(one.resolved)
	slices.Sort(one.former)
	if got, want := strings.Join(one.former, ", "), "/app/more/level of 2, /key of 1, password of v1, user of v2"; got != want {
		t.Errorf("it masks %s, want %s", got, want)
	}
	close(asked)
	for question := range asked {
		if strings.Contains(question, "v3") || strings.Contains(question, "reference") {
			t.Errorf("asked for %s", question)
		}
	}
	for _, want := range []string{"VersionId: v1", "of which it has the current version alone"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in the log: %s", want, log.String())
		}
	}
	if strings.Contains(log.String(), " of v") {
		t.Errorf("the log has a value: %s", log.String())
	}
}
