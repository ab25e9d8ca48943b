package iam_test

import (
	"bytes"
	"encoding/csv"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/malote/malote/malotetest"
)

func TestCredentialReport(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	ctx := t.Context()
	admin := iam.NewFromConfig(sys.Config())
	bob := iam.NewFromConfig(sys.User(t, "bob", malotetest.Allow("*", "iam:GetUser")))
	_, err := admin.GetCredentialReport(ctx, &iam.GetCredentialReportInput{})
	wantError(t, err, "ReportNotPresent", "No report exists. Call GenerateCredentialReport first.")

	ok(bob.GetUser(ctx, &iam.GetUserInput{}))(t)
	second := ok(admin.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("bob")}))(t).AccessKey
	sys.Canaries.Add(*second.SecretAccessKey)
	ok(admin.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: second.AccessKeyId, Status: "Inactive"}))(t)
	ok(admin.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("with,comma")}))(t)
	if state := ok(admin.GenerateCredentialReport(ctx, &iam.GenerateCredentialReportInput{}))(t).State; state != "COMPLETE" {
		t.Errorf("state = %s", state)
	}
	report := ok(admin.GetCredentialReport(ctx, &iam.GetCredentialReportInput{}))(t)
	if report.ReportFormat != "text/csv" || sys.Clock.Now().Sub(*report.GeneratedTime) > time.Minute {
		t.Errorf("a report in %s of %s", report.ReportFormat, report.GeneratedTime)
	}
	if bytes.Contains(report.Content, []byte(*second.SecretAccessKey)) {
		t.Error("the report has a secret")
	}
	rows, err := csv.NewReader(bytes.NewReader(report.Content)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 5 || len(rows[0]) != 22 {
		t.Fatalf("report:\n%s", report.Content)
	}
	const none = "false,N/A,N/A,N/A,N/A"
	times := regexp.MustCompile(`2\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00`)
	for i, want := range []string{
		"<root_account>," + accountARN + "root,TIME,not_supported,no_information,not_supported,not_supported,false," + none + "," + none + ",false,N/A,false,N/A",
		"admin," + accountARN + "user/admin,TIME,false,N/A,N/A,N/A,false,true,TIME,TIME,us-east-1,iam," + none + ",false,N/A,false,N/A",
		"bob," + accountARN + "user/bob,TIME,false,N/A,N/A,N/A,false,true,TIME,TIME,us-east-1,iam,false,TIME,N/A,N/A,N/A,false,N/A,false,N/A",
		"with,comma," + accountARN + "user/with,comma,TIME,false,N/A,N/A,N/A,false," + none + "," + none + ",false,N/A,false,N/A",
	} {
		if got := times.ReplaceAllString(strings.Join(rows[i+1], ","), "TIME"); got != want {
			t.Errorf("row %d = %s\nwant    %s", i+1, got, want)
		}
	}

	sys.Clock.Advance(4 * time.Hour)
	_, err = admin.GetCredentialReport(ctx, &iam.GetCredentialReportInput{})
	wantError(t, err, "ReportExpired", "The report has expired. Call GenerateCredentialReport again.")
	ok(admin.GenerateCredentialReport(ctx, &iam.GenerateCredentialReportInput{}))(t)
	ok(admin.GetCredentialReport(ctx, &iam.GetCredentialReportInput{}))(t)
}
