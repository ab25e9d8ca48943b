package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

func sample() audit.Record {
	source := &policy.Source{ARN: "arn:aws:iam::111122223333:policy/readers"}
	return audit.Record{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Service: "secretsmanager", Name: "GetSecretValue", Operation: "GetSecretValue",
		Region: "eu-west-1", SourceIP: netip.MustParseAddr("::ffff:10.1.2.3"), UserAgent: "aws-cli/2", RequestID: "req-1",
		Principal: &caller.Principal{Type: caller.AssumedRole, Account: "111122223333", ARN: "arn:aws:sts::111122223333:assumed-role/app/s1", ID: "AROAJQABLZS4A3QDU576Q:s1",
			RoleARN: "arn:aws:iam::111122223333:role/team/app", RoleID: "AROAJQABLZS4A3QDU576Q", SessionName: "s1", AccessKeyID: "ASIAEXAMPLE", IssuedAt: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)},
		Resource: "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf", Account: "111122223333",
		Decision: policy.Decision{Allowed: true, Layer: policy.LayerIdentity, Source: source, Statement: &policy.Statement{Sid: "Read", Allow: true, Index: 1}},
	}
}

func open(t testing.TB, path string, o audit.Options) *audit.File {
	t.Helper()
	f, err := audit.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func verify(t testing.TB, path string) audit.Chain {
	t.Helper()
	chain, err := audit.Verify(path)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func TestRecordShape(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{})
	r := sample()
	if err := f.Record(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r = sample()
	r.Service, r.Name, r.Via = "kms", "Decrypt", []string{"secretsmanager.amazonaws.com"}
	r.Principal = &caller.Principal{Type: caller.User, Account: "111122223333", ARN: "arn:aws:iam::111122223333:user/bob", ID: "AIDA", UserName: "bob", AccessKeyID: "AKIA"}
	r.Resource = "*"
	r.RequestID = "evil\"}\n{\"forged\":true\u2028\x00\xff" + strings.Repeat("x", 5000)
	r.Decision, r.ErrorCode, r.ErrorMessage = policy.Decision{Layer: policy.LayerIdentity}, "AccessDenied", "User: bob is not authorized"
	if err := f.Record(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := f.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if len(lines) != 2 {
		t.Fatalf("%d lines, want 2:\n%s", len(lines), text)
	}
	var got [2]map[string]any
	for i, line := range lines {
		if err := json.Unmarshal(line, &got[i]); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if id, _ := got[i]["eventID"].(string); len(id) != 36 {
			t.Errorf("eventID = %q", id)
		}
		delete(got[i], "eventID")
	}
	if got[0]["previousHash"] != strings.Repeat("0", 64) || len(got[1]["previousHash"].(string)) != 64 {
		t.Errorf("hashes = %v, %v", got[0]["previousHash"], got[1]["previousHash"])
	}
	delete(got[1], "previousHash")
	want := map[string]any{
		"eventVersion": "1.11", "eventTime": "2026-01-02T03:04:05Z", "eventSource": "secretsmanager.amazonaws.com", "eventName": "GetSecretValue",
		"awsRegion": "eu-west-1", "sourceIPAddress": "10.1.2.3", "userAgent": "aws-cli/2", "requestID": "req-1", "readOnly": true,
		"requestParameters": nil, "responseElements": nil, "eventType": "AwsApiCall", "managementEvent": true, "eventCategory": "Management",
		"recipientAccountId": "111122223333", "sequence": 1.0, "previousHash": strings.Repeat("0", 64),
		"additionalEventData": map[string]any{"decision": "allowed", "decidedBy": "identity-based policy", "policy": "arn:aws:iam::111122223333:policy/readers", "statement": 2.0, "sid": "Read"},
		"resources":           []any{map[string]any{"accountId": "111122223333", "type": "AWS::SecretsManager::Secret", "ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf"}},
		"userIdentity": map[string]any{
			"type": "AssumedRole", "principalId": "AROAJQABLZS4A3QDU576Q:s1", "arn": "arn:aws:sts::111122223333:assumed-role/app/s1", "accountId": "111122223333", "accessKeyId": "ASIAEXAMPLE",
			"sessionContext": map[string]any{
				"sessionIssuer": map[string]any{"type": "Role", "principalId": "AROAJQABLZS4A3QDU576Q", "arn": "arn:aws:iam::111122223333:role/team/app", "accountId": "111122223333", "userName": "app"},
				"attributes":    map[string]any{"creationDate": "2026-01-02T03:00:00Z", "mfaAuthenticated": "false"},
			},
		},
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	for member, want := range map[string]any{"sourceIPAddress": "secretsmanager.amazonaws.com", "errorCode": "AccessDenied", "errorMessage": "User: bob is not authorized", "eventName": "Decrypt", "readOnly": true} {
		if got[1][member] != want {
			t.Errorf("%s = %v, want %v", member, got[1][member], want)
		}
	}
	if _, ok := got[1]["resources"]; ok {
		t.Error(`a record of "*" has resources`)
	}
	if identity := got[1]["userIdentity"].(map[string]any); identity["invokedBy"] != "secretsmanager.amazonaws.com" || identity["userName"] != "bob" {
		t.Errorf("userIdentity = %v", identity)
	}
	if agent := got[1]["userAgent"]; agent != "secretsmanager.amazonaws.com" { // as CloudTrail has it
		t.Errorf("userAgent = %q", agent)
	}
	if id := got[1]["requestID"].(string); !strings.HasPrefix(id, "evil\"}\n{\"forged\":true\u2028\x00\ufffdxxx") || len(id) > 4200 {
		t.Errorf("requestID = %q", id)
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{Delay: 100 * time.Microsecond})
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			for range 500 {
				if err := f.Record(t.Context(), sample()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Record(t.Context(), sample()); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("recording into a closed log = %v, want ErrClosed", err)
	}
	if chain := verify(t, path); chain.Records != 4000 || chain.Torn {
		t.Errorf("chain = %+v, want 4000 records", chain)
	}

	// A second life goes on where the first ended.
	f = open(t, path, audit.Options{})
	if err := f.Record(t.Context(), sample()); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if chain := verify(t, path); chain.Records != 4001 {
		t.Errorf("chain = %+v, want 4001 records", chain)
	}

	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(good, []byte("\n"))
	for _, tt := range []struct {
		name string
		text []byte
		line uint64
	}{
		{"a byte changed", bytes.Replace(good, []byte(`"sequence":17,`), []byte(`"sequence":17 `), 1), 17},
		{"a name changed", append(bytes.Replace(bytes.Join(lines[:20], nil), []byte("assumed-role/app"), []byte("assumed-role/apq"), 1), bytes.Join(lines[20:], nil)...), 2},
		{"a line dropped", bytes.Join(append(append([][]byte(nil), lines[:9]...), lines[10:]...), nil), 10},
		{"the second dropped", bytes.Join(append([][]byte{lines[0]}, lines[2:]...), nil), 2},
		{"two swapped", bytes.Join(append(append(append([][]byte(nil), lines[:4]...), lines[5], lines[4]), lines[6:]...), nil), 5},
		{"a line added", append(append([]byte(nil), good...), "{}\n"...), 4002},
		{"a line doubled", append(append([]byte(nil), good...), lines[4000]...), 4002},
		{"the first taken away, the next changed", append(bytes.Replace(bytes.Join(lines[1:20], nil), []byte("assumed-role/app"), []byte("assumed-role/apq"), 1), bytes.Join(lines[20:], nil)...), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			if err := os.WriteFile(path, tt.text, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := audit.Verify(path)
			broken := new(audit.BrokenError)
			if !errors.As(err, &broken) || broken.Line != tt.line {
				t.Errorf("Verify = %v, want broken at line %d", err, tt.line)
			}
		})
	}
}

func TestTornLine(t *testing.T) {
	t.Parallel()
	for _, torn := range []string{`{"eventVersion":"1.1`, strings.Repeat("x", 200_000), "{}"} {
		path := filepath.Join(t.TempDir(), "audit.log")
		f := open(t, path, audit.Options{})
		for range 3 {
			f.Record(t.Context(), sample())
		}
		f.Close()
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(file, torn)
		file.Close()
		if chain := verify(t, path); !chain.Torn || chain.Records != 3 {
			t.Errorf("chain = %+v, want 3 records and a torn one", chain)
		}
		f = open(t, path, audit.Options{})
		f.Record(t.Context(), sample())
		f.Close()
		if chain := verify(t, path); chain.Torn || chain.Records != 4 {
			t.Errorf("chain = %+v, want 4 records", chain)
		}
	}
	t.Run("nothing but a torn line", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		os.WriteFile(path, []byte(`{"ev`), 0o644)
		f := open(t, path, audit.Options{})
		f.Record(t.Context(), sample())
		f.Close()
		if chain := verify(t, path); chain.Records != 1 {
			t.Errorf("chain = %+v, want 1 record", chain)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("mode = %v, want 0600", info.Mode())
		}
	})
	t.Run("not a log at all", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		os.WriteFile(path, []byte("a letter\nto somebody\n"), 0o600)
		if _, err := audit.Open(path, audit.Options{}); err == nil {
			t.Error("opened a letter as an audit log")
		}
	})
}

func TestSegments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	write := func(n int) {
		t.Helper()
		f := open(t, path, audit.Options{Delay: time.Microsecond, Size: 100_000})
		for range n {
			if err := f.Record(t.Context(), sample()); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(1000)
	write(10)
	if chain := verify(t, path); chain.Records != 1010 || chain.First != 1 {
		t.Errorf("chain = %+v, want 1010 records", chain)
	}
	aside, err := filepath.Glob(path + ".*")
	if err != nil || len(aside) < 2 {
		t.Fatalf("put aside: %v, %v", aside, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v, want 0600", info.Mode(), err)
	}

	// Killed between the two renames: no file but the segments.
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	empty, err := os.Stat(path + ".away")
	if err != nil {
		t.Fatal(err)
	}
	write(1)
	chain := verify(t, path)
	if empty.Size() == 0 && chain.Records != 1011 || chain.Records < 100 {
		t.Errorf("chain = %+v", chain)
	}

	t.Run("the oldest in the archive", func(t *testing.T) {
		kept := filepath.Join(dir, "kept")
		if err := os.Rename(aside[0], kept); err != nil {
			t.Fatal(err)
		}
		defer os.Rename(kept, aside[0])
		if now := verify(t, path); now.First == 1 || now.First+now.Records != 1+chain.Records || now.Head != chain.Head {
			t.Errorf("chain = %+v, before %+v", now, chain)
		}
	})
	t.Run("one of the middle gone", func(t *testing.T) {
		os.Remove(aside[1])
		broken := new(audit.BrokenError)
		if _, err := audit.Verify(path); !errors.As(err, &broken) || broken.Line != 1 {
			t.Errorf("Verify = %v, want broken", err)
		}
	})
}

func TestLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	open(t, path, audit.Options{})
	if _, err := audit.Open(path, audit.Options{}); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("opening a log in use = %v, want ErrLocked", err)
	}
}

// TestDiskFull fills a file system of its own, which needs root; /dev/full would not, but it never has room again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "audit-test", dir).CombinedOutput(); err != nil {
		t.Skipf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	path := filepath.Join(dir, "audit.log")
	f := open(t, path, audit.Options{Delay: time.Microsecond, Queue: 100})
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}

	accepted := uint64(0)
	var failure error
	for deadline := time.Now().Add(10 * time.Second); failure == nil && time.Now().Before(deadline); {
		if failure = f.Record(t.Context(), sample()); failure == nil {
			accepted++
		}
	}
	if failure == nil || !strings.Contains(failure.Error(), "no space left") {
		t.Fatalf("after %d records error = %v, want no space left", accepted, failure)
	}
	if chain := verify(t, path); chain.Torn {
		t.Errorf("chain = %+v: half a record was left", chain)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for failure != nil && time.Now().Before(deadline) {
		if failure = f.Record(t.Context(), sample()); failure == nil {
			accepted++
		}
		time.Sleep(time.Millisecond)
	}
	err := f.Close()
	chain := verify(t, path)
	if failure != nil || err != nil || chain.Records != accepted+1 { // and what the log says of the gap
		t.Errorf("with room again: recording = %v, closing = %v, %d records in the file of %d accepted", failure, err, chain.Records, accepted)
	}
}

// TestKilled is what a power cut leaves behind, as far as a process can make one: the child
// writes as fast as it can and is killed; the parent opens the log and goes on.
func TestKilled(t *testing.T) {
	if path := os.Getenv("MALOTE_TEST_AUDIT"); path != "" {
		f, err := audit.Open(path, audit.Options{Delay: time.Microsecond})
		if err != nil {
			t.Fatal(err)
		}
		for {
			if err := f.Record(context.Background(), sample()); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	var before uint64
	for range 5 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), "MALOTE_TEST_AUDIT="+path)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for size := int64(-1); ; { // until it has written something
			info, err := os.Stat(path)
			if err == nil && size >= 0 && info.Size() > size {
				break
			}
			if err == nil && size < 0 {
				size = info.Size()
			}
			time.Sleep(time.Millisecond)
		}
		child.Process.Kill()
		child.Wait()
		f := open(t, path, audit.Options{})
		if err := f.Record(t.Context(), sample()); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		chain := verify(t, path)
		if chain.Records <= before || chain.Torn {
			t.Fatalf("chain = %+v after %d records", chain, before)
		}
		before = chain.Records
	}
}

func TestBackPressure(t *testing.T) {
	t.Parallel()
	f := open(t, filepath.Join(t.TempDir(), "audit.log"), audit.Options{Queue: 2, Delay: time.Hour})
	f.Record(t.Context(), sample())
	f.Record(t.Context(), sample())
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := f.Record(ctx, sample()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("recording into a full queue = %v, want the deadline", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkRecord(b *testing.B) {
	f := open(b, filepath.Join(b.TempDir(), "audit.log"), audit.Options{})
	r := sample()
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Record(ctx, r); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Flush(ctx); err != nil {
		b.Fatal(err)
	}
}

// What a service does of its own accord has no decision.
func TestServiceEvent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = log.Record(t.Context(), audit.Record{
		Event: true, Service: "secretsmanager", Name: "RotationFailed", Account: "111122223333", Resource: "arn:aws:secretsmanager:eu-west-1:111122223333:secret:db-AbCdEf",
		Principal: &caller.Principal{Type: caller.Service, Service: "secretsmanager.amazonaws.com"}, ErrorCode: "RotationFailed", ErrorMessage: "setSecret: no",
		Details: []byte(`{"versionId":"v","step":2}`),
	})
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(written, &got); err != nil {
		t.Fatalf("%v in %s", err, written)
	}
	details, _ := got["serviceEventDetails"].(map[string]any)
	if len(details) != 2 || details["versionId"] != "v" || details["step"] != 2.0 {
		t.Errorf("serviceEventDetails = %v", got["serviceEventDetails"])
	}
	if _, decided := got["additionalEventData"]; decided || got["eventType"] != "AwsServiceEvent" || got["eventName"] != "RotationFailed" || got["errorMessage"] != "setSecret: no" {
		t.Errorf("record %s", written)
	}
}
