package audit_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/caller"
)

// userIdentity of those who come from elsewhere has CloudTrail's shapes.
func TestFederatedIdentities(t *testing.T) {
	t.Parallel()
	const account, provider = "111122223333", "arn:aws:iam::111122223333:oidc-provider/ci.example.com"
	at := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	attributes := `"attributes":{"mfaAuthenticated":"false","creationDate":"2026-01-02T03:00:00Z"}`
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path, audit.Options{})
	var want []string
	for _, tt := range []struct {
		who  *caller.Principal
		want string
	}{
		{&caller.Principal{Type: caller.WebIdentityUser, Account: account, ID: provider + ":web:repo:\"x\"", UserName: `repo:"x"`, Provider: provider},
			`{"type":"WebIdentityUser","principalId":"` + provider + `:web:repo:\"x\"","userName":"repo:\"x\"","identityProvider":"` + provider + `"}`},
		{&caller.Principal{Type: caller.AssumedRole, Account: account, ARN: "arn:aws:sts::111122223333:assumed-role/app/s1", ID: "AROAJQABLZS4A3QDU576Q:s1", RoleARN: "arn:aws:iam::111122223333:role/app",
			RoleID: "AROAJQABLZS4A3QDU576Q", AccessKeyID: "ASIAEXAMPLE", IssuedAt: at, SourceIdentity: "alice", Provider: provider},
			`{"type":"AssumedRole","principalId":"AROAJQABLZS4A3QDU576Q:s1","arn":"arn:aws:sts::111122223333:assumed-role/app/s1","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE",
			"sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAJQABLZS4A3QDU576Q","arn":"arn:aws:iam::111122223333:role/app","accountId":"111122223333","userName":"app"},
			"webIdFederationData":{"federatedProvider":"` + provider + `","attributes":{}},` + attributes + `,"sourceIdentity":"alice"}}`},
		{&caller.Principal{Type: caller.FederatedUser, Account: account, ARN: "arn:aws:sts::111122223333:federated-user/carol", ID: account + ":carol", AccessKeyID: "ASIAEXAMPLE", IssuedAt: at,
			FederatedByARN: "arn:aws:iam::111122223333:user/team/broker", FederatedByID: "AIDAJQABLZS4A3QDU576Q"},
			`{"type":"FederatedUser","principalId":"111122223333:carol","arn":"arn:aws:sts::111122223333:federated-user/carol","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE",
			"sessionContext":{"sessionIssuer":{"type":"IAMUser","principalId":"AIDAJQABLZS4A3QDU576Q","arn":"arn:aws:iam::111122223333:user/team/broker","accountId":"111122223333","userName":"broker"},` + attributes + `}}`},
		{&caller.Principal{Type: caller.FederatedUser, Account: account, ARN: "arn:aws:sts::111122223333:federated-user/carol", ID: account + ":carol", AccessKeyID: "ASIAEXAMPLE", IssuedAt: at,
			FederatedByARN: "arn:aws:iam::111122223333:root", FederatedByID: account},
			`{"type":"FederatedUser","principalId":"111122223333:carol","arn":"arn:aws:sts::111122223333:federated-user/carol","accountId":"111122223333","accessKeyId":"ASIAEXAMPLE",
			"sessionContext":{"sessionIssuer":{"type":"Root","principalId":"111122223333","arn":"arn:aws:iam::111122223333:root","accountId":"111122223333"},` + attributes + `}}`},
	} {
		r := sample()
		r.Principal = tt.who
		if err := f.Record(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		want = append(want, tt.want)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if len(lines) != len(want) {
		t.Fatalf("%d records, want %d", len(lines), len(want))
	}
	for i, line := range lines {
		var got struct{ UserIdentity any }
		var wanted any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(want[i]), &wanted); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wanted, got.UserIdentity); diff != "" {
			t.Error(diff)
		}
	}
}
