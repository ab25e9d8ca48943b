package model

import _ "embed"

// The tables are strings, each a part of the program's file: reading one copies nothing.
var (
	//go:embed tables/cloudtrail.txt
	cloudtrail string
	//go:embed tables/ecs.txt
	ecs string
	//go:embed tables/iam.txt
	iam string
	//go:embed tables/kms.txt
	kms string
	//go:embed tables/logs.txt
	logs string
	//go:embed tables/organizations.txt
	organizations string
	//go:embed tables/s3.txt
	s3 string
	//go:embed tables/secretsmanager.txt
	secretsmanager string
	//go:embed tables/ssm.txt
	ssm string
	//go:embed tables/sts.txt
	sts string
)

// tables by signing name.
var tables = map[string]string{
	"cloudtrail": cloudtrail, "ecs": ecs, "iam": iam, "kms": kms, "logs": logs, "organizations": organizations,
	"s3": s3, "secretsmanager": secretsmanager, "ssm": ssm, "sts": sts,
}
