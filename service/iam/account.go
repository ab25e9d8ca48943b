package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/service/iam/directory"
)

// CreateAccountAlias gives the account an alias, which no other account may have, in the
// place of the one that it has.
func (s *Service) CreateAccountAlias(ctx context.Context, in *iam.CreateAccountAliasInput) (*iam.CreateAccountAliasOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:CreateAccountAlias", Resource: "*"}); err != nil {
		return nil, err
	}
	err := s.dir.Update(ctx, func(tx *directory.Tx) error {
		owner, err := tx.AliasOwner(*in.AccountAlias)
		if err != nil {
			return err
		}
		if owner != "" {
			return alreadyExists("The account alias %s already exists.", *in.AccountAlias)
		}
		a, err := tx.Account(account(ctx))
		if err != nil {
			return err
		}
		return tx.SetAlias(a, *in.AccountAlias)
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateAccountAliasOutput{}, nil
}

func (s *Service) DeleteAccountAlias(ctx context.Context, in *iam.DeleteAccountAliasInput) (*iam.DeleteAccountAliasOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:DeleteAccountAlias", Resource: "*"}); err != nil {
		return nil, err
	}
	err := s.dir.Update(ctx, func(tx *directory.Tx) error {
		a, err := tx.Account(account(ctx))
		if err != nil {
			return err
		}
		if a.Alias != *in.AccountAlias {
			return noSuchEntity("The account alias %s cannot be found.", *in.AccountAlias)
		}
		return tx.SetAlias(a, "")
	})
	if err != nil {
		return nil, err
	}
	return &iam.DeleteAccountAliasOutput{}, nil
}

func (s *Service) ListAccountAliases(ctx context.Context, in *iam.ListAccountAliasesInput) (*iam.ListAccountAliasesOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:ListAccountAliases", Resource: "*"}); err != nil {
		return nil, err
	}
	last, err := after(in.Marker)
	if err != nil {
		return nil, err
	}
	out := &iam.ListAccountAliasesOutput{AccountAliases: []string{}}
	err = s.dir.View(ctx, func(tx *directory.Tx) error {
		a, err := tx.Account(account(ctx))
		if err == nil && a.Alias > last {
			out.AccountAliases = append(out.AccountAliases, a.Alias)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// GetAccountSummary counts what the account has and says what it may have. What nobody has
// here, for no operation makes it, is none.
func (s *Service) GetAccountSummary(ctx context.Context, in *iam.GetAccountSummaryInput) (*iam.GetAccountSummaryOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:GetAccountSummary", Resource: "*"}); err != nil {
		return nil, err
	}
	summary := map[string]int32{
		"UsersQuota": maxUsers, "GroupsQuota": maxAccountGroups, "RolesQuota": maxRoles, "PoliciesQuota": maxPolicies, "InstanceProfilesQuota": maxInstanceProfiles,
		"AccessKeysPerUserQuota": maxAccessKeys, "GroupsPerUserQuota": maxGroups, "VersionsPerPolicyQuota": maxVersions,
		"AttachedPoliciesPerUserQuota": maxAttached, "AttachedPoliciesPerGroupQuota": maxAttached, "AttachedPoliciesPerRoleQuota": maxAttached,
		"UserPolicySizeQuota": maxUserInline, "GroupPolicySizeQuota": maxGroupInline, "RolePolicySizeQuota": maxRoleInline,
		"PolicySizeQuota": maxManagedPolicy, "AssumeRolePolicySizeQuota": maxTrustPolicy,
		"PolicyVersionsInUseQuota": 10000, "ServerCertificatesQuota": 20, "SigningCertificatesPerUserQuota": 2,

		"MFADevices": 0, "MFADevicesInUse": 0, "AccountMFAEnabled": 0, "AccountPasswordPresent": 0, "AccountSigningCertificatesPresent": 0,
		"ServerCertificates": 0, "Providers": 0, "AccountAccessKeysPresent": 0, "Policies": 0, "PolicyVersionsInUse": 0,
		"GlobalEndpointTokenVersion": 2, // session tokens hold in every Region
	}
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		for name, kind := range map[string]directory.Kind{
			"Users": directory.KindUser, "Groups": directory.KindGroup, "Roles": directory.KindRole, "InstanceProfiles": directory.KindInstanceProfile,
		} {
			n, err := tx.Count(account(ctx), kind)
			if err != nil {
				return err
			}
			summary[name] = n
		}
		for p, err := range tx.Policies(account(ctx), "") {
			if err != nil {
				return err
			}
			summary["Policies"]++
			summary["PolicyVersionsInUse"] += int32(len(p.Versions))
		}
		for _, err := range tx.OIDCProviders(account(ctx)) {
			if err != nil {
				return err
			}
			summary["Providers"]++
		}
		a, err := tx.Account(account(ctx))
		if err == nil && len(a.AccessKeys) > 0 {
			summary["AccountAccessKeysPresent"] = 1
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iam.GetAccountSummaryOutput{SummaryMap: summary}, nil
}

// GetAccountPasswordPolicy finds none: nobody has a password, so there is nothing that a
// policy would hold for, and no operation to make one.
func (s *Service) GetAccountPasswordPolicy(ctx context.Context, in *iam.GetAccountPasswordPolicyInput) (*iam.GetAccountPasswordPolicyOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:GetAccountPasswordPolicy", Resource: "*"}); err != nil {
		return nil, err
	}
	return nil, noSuchEntity("The Password Policy with domain name %s cannot be found.", account(ctx))
}

func (s *Service) DeleteAccountPasswordPolicy(ctx context.Context, in *iam.DeleteAccountPasswordPolicyInput) (*iam.DeleteAccountPasswordPolicyOutput, error) {
	if err := s.authorize(ctx, &authz.Access{Action: "iam:DeleteAccountPasswordPolicy", Resource: "*"}); err != nil {
		return nil, err
	}
	return nil, noSuchEntity("The account policy with name PasswordPolicy cannot be found.")
}
