package sts_test

import (
	"testing"
	"time"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/iam/directory"
	service "github.com/malote/malote/service/sts"
	"github.com/malote/malote/store/memory"
)

// What a denial costs beyond being one.
func BenchmarkExplain(b *testing.B) {
	st := memory.New()
	defer st.Close()
	dir := directory.New(directory.Config{Store: st})
	defer dir.Close()
	az := authz.New(authz.Config{Policies: dir})
	tokens := service.New(service.Config{Directory: dir, Authz: az})
	ctx := caller.With(b.Context(), &caller.Request{
		Principal: &caller.Principal{Type: caller.User, Account: account, ARN: userARN("bob"), ID: "AIDAJQABLZS4A3QDU576Q", UserName: "bob"}, UserAgent: "aws-cli/2", Region: "us-east-1", Time: time.Now(),
	})
	err := az.Authorize(ctx, &authz.Access{Action: "secretsmanager:GetSecretValue", Resource: "arn:aws:secretsmanager:us-east-1:" + account + ":secret:db-AbCdEf"})
	b.ReportAllocs()
	for b.Loop() {
		if service.Explain(ctx, tokens, err) == "" {
			b.Fatal("no message")
		}
	}
}
