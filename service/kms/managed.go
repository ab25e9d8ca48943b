package kms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// managedServices are the services whose AWS managed key DescribeKey makes when it is
// asked for before its first use.
var managedServices = map[string]string{
	"secretsmanager": "Default key that protects my Secrets Manager data when no other key is defined",
	"ssm":            "Default key that protects my SSM parameters when no other key is defined",
	"s3":             "Default key that protects my S3 objects when no other key is defined",
	"ebs":            "Default key that protects my EBS volumes when no other key is defined",
}

const managedRotationDays = 365

// isManagedBy reports whether r is the alias of the caller's AWS managed key of service,
// or, if service is "", of one of those that AWS is known to have.
func isManagedBy(service string, request *caller.Request, r ref) bool {
	name, ok := strings.CutPrefix(r.alias, "alias/aws/")
	if !ok || name == "" || r.account != request.Principal.Account {
		return false
	}
	if service == "" {
		_, known := managedServices[name]
		return known
	}
	return name == service
}

// makeManaged returns the AWS managed key of an alias alias/aws/…, making it when it is
// not there.
func (s *Service) makeManaged(ctx context.Context, request *caller.Request, aliasName string) (*key, error) {
	service := strings.TrimPrefix(aliasName, "alias/aws/")
	account, region := request.Principal.Account, request.Region
	description, ok := managedServices[service]
	if !ok {
		description = "Default key that protects my " + service + " data when no other key is defined"
	}
	var k *key
	err := s.store.Update(ctx, func(tx store.Tx) error {
		path := aliasPath(account, region, aliasName)
		switch a, err := s.aliases.Get(tx, path); {
		case err == nil:
			k, err = s.keys.Get(tx, keyPath(account, region, a.KeyID))
			return err
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		now := s.now()
		k = newKey(account, region, now)
		k.Manager = types.KeyManagerTypeAws
		k.Description = description
		k.Policy = attached.Policy{Text: managedPolicy(service, account, region)}
		k.Aliases = []string{aliasName}
		k.Rotation = &rotation{Days: managedRotationDays, Next: now.AddDate(0, 0, managedRotationDays)}
		if err := s.aliases.Put(tx, path, &alias{Name: aliasName, KeyID: k.ID, Created: now, Updated: now}); err != nil {
			return err
		}
		return s.keys.Put(tx, k.path(), k)
	})
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", aliasName, err)
	}
	return k, nil
}

// managedPolicy lets every principal of the account use the key, but only through the
// service: whoever may read a secret may read it under this key, and nobody may decrypt
// with it directly.
func managedPolicy(service, account, region string) string {
	id, generateVia := "auto-"+service+"-1", fmt.Sprintf(`"StringEquals":{"kms:CallerAccount":"%s","kms:ViaService":"%s.%s.amazonaws.com"}`, account, service, region)
	name := service
	switch service {
	case "secretsmanager":
		id, name = "auto-secretsmanager-2", "AWS Secrets Manager"
		generateVia = fmt.Sprintf(`"StringEquals":{"kms:CallerAccount":"%s"},"StringLike":{"kms:ViaService":"secretsmanager.*.amazonaws.com"}`, account)
	case "ssm":
		name = "AWS Systems Manager"
	case "s3":
		id, name = "auto-s3-2", "S3"
	case "ebs":
		id, name = "auto-ebs-2", "EBS"
	}
	return fmt.Sprintf(`{
  "Version" : "2012-10-17",
  "Id" : "%[1]s",
  "Statement" : [ {
    "Sid" : "Allow access through %[2]s for all principals in the account that are authorized to use %[2]s",
    "Effect" : "Allow",
    "Principal" : {"AWS" : "*"},
    "Action" : [ "kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:CreateGrant", "kms:DescribeKey" ],
    "Resource" : "*",
    "Condition" : {"StringEquals":{"kms:CallerAccount":"%[3]s","kms:ViaService":"%[4]s.%[5]s.amazonaws.com"}}
  }, {
    "Sid" : "Allow data keys through %[2]s for all principals in the account that are authorized to use %[2]s",
    "Effect" : "Allow",
    "Principal" : {"AWS" : "*"},
    "Action" : "kms:GenerateDataKey*",
    "Resource" : "*",
    "Condition" : {%[6]s}
  }, {
    "Sid" : "Allow direct access to key metadata to the account",
    "Effect" : "Allow",
    "Principal" : {"AWS" : "arn:aws:iam::%[3]s:root"},
    "Action" : [ "kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant" ],
    "Resource" : "*"
  } ]
}`, id, name, account, service, region, generateVia)
}
