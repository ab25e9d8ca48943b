package iam

import (
	"bytes"
	"context"
	"encoding/csv"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// reportValid is how long a report can be had after it was asked to be made.
const reportValid = 4 * time.Hour

// GenerateCredentialReport makes a report available for four hours.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html
func (s *Service) GenerateCredentialReport(ctx context.Context, in *iam.GenerateCredentialReportInput) (*iam.GenerateCredentialReportOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:GenerateCredentialReport", Resource: "*"}); err != nil {
		return nil, err
	}
	now := s.now().UTC()
	err := s.dir.Update(ctx, func(tx *directory.Tx) error {
		a, err := tx.Account(account(ctx))
		if err != nil || a.Reported != nil && now.Before(a.Reported.Add(reportValid)) {
			return err
		}
		a.Reported = &now
		return tx.PutAccount(a)
	})
	if err != nil {
		return nil, err
	}
	return &iam.GenerateCredentialReportOutput{State: types.ReportStateTypeComplete}, nil
}

// GetCredentialReport answers with everybody's credentials as they are now, which is as good
// as when the report was asked for, or better.
func (s *Service) GetCredentialReport(ctx context.Context, in *iam.GetCredentialReportInput) (*iam.GetCredentialReportOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:GetCredentialReport", Resource: "*"}); err != nil {
		return nil, err
	}
	now := s.now().UTC()
	var lines []reportLine
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		a, err := tx.Account(account(ctx))
		if err != nil {
			return err
		}
		switch {
		case a.Reported == nil:
			return &types.CredentialReportNotPresentException{Message: aws.String("No report exists. Call GenerateCredentialReport first.")}
		case !now.Before(a.Reported.Add(reportValid)):
			return &types.CredentialReportExpiredException{Message: aws.String("The report has expired. Call GenerateCredentialReport again.")}
		}
		root := reportLine{user: "<root_account>", arn: "arn:aws:iam::" + a.ID + ":root", created: a.Created, root: true}
		if root.keys, err = keysIn(tx, a.AccessKeys); err != nil {
			return err
		}
		lines = append(lines[:0], root)
		for u, err := range tx.Users(a.ID, "") {
			if err != nil {
				return err
			}
			line := reportLine{user: u.Name, arn: u.ARN(), created: u.Created}
			if line.keys, err = keysIn(tx, u.AccessKeys); err != nil {
				return err
			}
			lines = append(lines, line)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	w := csv.NewWriter(&content)
	w.Write(reportColumns)
	for i := range lines {
		row, err := s.reportRow(ctx, &lines[i])
		if err != nil {
			return nil, err
		}
		w.Write(row)
	}
	if w.Flush(); w.Error() != nil {
		return nil, w.Error()
	}
	return &iam.GetCredentialReportOutput{Content: content.Bytes(), GeneratedTime: &now, ReportFormat: types.ReportFormatTypeTextCsv}, nil
}

var reportColumns = []string{
	"user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed", "password_next_rotation", "mfa_active",
	"access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date", "access_key_1_last_used_region", "access_key_1_last_used_service",
	"access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date", "access_key_2_last_used_region", "access_key_2_last_used_service",
	"cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated",
}

// reportLine is what a row of the report is made of.
type reportLine struct {
	user, arn string
	created   time.Time
	root      bool
	keys      []directory.AccessKey // without secrets
}

func keysIn(tx *directory.Tx, ids []string) ([]directory.AccessKey, error) {
	var keys []directory.AccessKey
	for _, id := range ids {
		key, err := tx.AccessKey(id)
		if err != nil {
			return nil, err
		}
		keys = append(keys, directory.AccessKey{ID: key.ID, Active: key.Active, Created: key.Created})
	}
	return keys, nil
}

// reportRow has AWS's words for what there is none of: passwords, devices, certificates.
func (s *Service) reportRow(ctx context.Context, line *reportLine) ([]string, error) {
	const none = "N/A"
	at := func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05+00:00") }
	row := []string{line.user, line.arn, at(line.created), "false", none, none, none, "false"}
	if line.root {
		row = []string{line.user, line.arn, at(line.created), "not_supported", "no_information", "not_supported", "not_supported", "false"}
	}
	for i := range maxAccessKeys {
		if i >= len(line.keys) {
			row = append(row, "false", none, none, none, none)
			continue
		}
		key := line.keys[i]
		row = append(row, strconv.FormatBool(key.Active), at(key.Created))
		used, err := s.dir.LastUsed(ctx, key.ID)
		if err != nil {
			return nil, err
		}
		if used.Time.IsZero() {
			row = append(row, none, none, none)
		} else {
			row = append(row, at(used.Time), used.Region, used.Service)
		}
	}
	return append(row, "false", none, "false", none), nil
}
