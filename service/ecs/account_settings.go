package ecs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// settled is how malote works: each setting has one value, which can be stated and not
// changed.
var settled = map[types.SettingName]string{
	types.SettingNameServiceLongArnFormat:            "enabled",
	types.SettingNameTaskLongArnFormat:               "enabled",
	types.SettingNameContainerInstanceLongArnFormat:  "enabled",
	types.SettingNameAwsvpcTrunking:                  "disabled",
	types.SettingNameContainerInsights:               "disabled",
	types.SettingNameFargateFipsMode:                 "disabled",
	types.SettingNameTagResourceAuthorization:        "on",
	types.SettingNameFargateTaskRetirementWaitPeriod: "7",
	types.SettingNameGuardDutyActivate:               "off",
	types.SettingNameDefaultLogDriverMode:            "blocking",
}

// accountSetting is one that was stated: ecs/…/account-setting/NAME/PRINCIPAL, where the
// account's root is the default of all.
type accountSetting struct{ Value string }

// accountRoot is whose settings are the default.
func accountRoot(ctx context.Context) string {
	return "arn:" + partition(scopeOf(ctx).region) + ":iam::" + scopeOf(ctx).account + ":root"
}

// settingsOwner is the principal that a request is about: the one it names, or the caller.
func settingsOwner(ctx context.Context, named *string) (string, error) {
	p := caller.From(ctx).Principal
	own := p.ARN
	if p.RoleARN != "" {
		own = p.RoleARN
	}
	arn := aws.ToString(named)
	if arn == "" {
		return own, nil
	}
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "iam" || parts[4] != p.Account {
		return "", invalidParameter("Invalid principalArn: '%s'. It must be the ARN of a user, a role or the root of this account.", arn)
	}
	return arn, nil
}

func (s *Service) authorizeSetting(ctx context.Context, action string, name types.SettingName) error {
	access := &authz.Access{Action: action, Resource: "*"}
	if name != "" {
		access.Conditions = map[string][]string{"ecs:account-setting": {string(name)}}
	}
	return s.authz.Authorize(ctx, access)
}

// changeSetting states or, without a value, takes back a setting of a principal.
func (s *Service) changeSetting(ctx context.Context, name types.SettingName, principal string, value *string) (*types.Setting, error) {
	only, ok := settled[name]
	if !ok {
		return nil, unsupported("name: " + string(name))
	}
	if value != nil && *value != only {
		return nil, unsupported("value: " + string(name) + "=" + *value)
	}
	key := scopeOf(ctx).key("account-setting", string(name), tokenKey(principal))
	err := s.store.Update(ctx, func(tx store.Tx) error {
		if value == nil {
			return s.accountSettings.Delete(tx, key)
		}
		return s.accountSettings.Put(tx, key, &accountSetting{*value})
	})
	if err != nil {
		return nil, err
	}
	return &types.Setting{Name: name, PrincipalArn: aws.String(principal), Type: settingType(name), Value: aws.String(only)}, nil
}

func settingType(name types.SettingName) types.SettingType {
	if name == types.SettingNameGuardDutyActivate {
		return types.SettingTypeAwsManaged
	}
	return types.SettingTypeUser
}

// PutAccountSetting states a setting for one principal. malote has one value for each.
func (s *Service) PutAccountSetting(ctx context.Context, in *ecs.PutAccountSettingInput) (*ecs.PutAccountSettingOutput, error) {
	if err := s.authorizeSetting(ctx, "ecs:PutAccountSetting", in.Name); err != nil {
		return nil, err
	}
	principal, err := settingsOwner(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	setting, err := s.changeSetting(ctx, in.Name, principal, aws.String(aws.ToString(in.Value)))
	if err != nil {
		return nil, err
	}
	return &ecs.PutAccountSettingOutput{Setting: setting}, nil
}

// PutAccountSettingDefault states a setting for the whole account.
func (s *Service) PutAccountSettingDefault(ctx context.Context, in *ecs.PutAccountSettingDefaultInput) (*ecs.PutAccountSettingDefaultOutput, error) {
	if err := s.authorizeSetting(ctx, "ecs:PutAccountSettingDefault", in.Name); err != nil {
		return nil, err
	}
	setting, err := s.changeSetting(ctx, in.Name, accountRoot(ctx), aws.String(aws.ToString(in.Value)))
	if err != nil {
		return nil, err
	}
	return &ecs.PutAccountSettingDefaultOutput{Setting: setting}, nil
}

// DeleteAccountSetting takes back what was stated for a principal.
func (s *Service) DeleteAccountSetting(ctx context.Context, in *ecs.DeleteAccountSettingInput) (*ecs.DeleteAccountSettingOutput, error) {
	if err := s.authorizeSetting(ctx, "ecs:DeleteAccountSetting", in.Name); err != nil {
		return nil, err
	}
	principal, err := settingsOwner(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	setting, err := s.changeSetting(ctx, in.Name, principal, nil)
	if err != nil {
		return nil, err
	}
	return &ecs.DeleteAccountSettingOutput{Setting: setting}, nil
}

// ListAccountSettings lists what was stated for a principal, or what holds for it.
func (s *Service) ListAccountSettings(ctx context.Context, in *ecs.ListAccountSettingsInput) (*ecs.ListAccountSettingsOutput, error) {
	if err := s.authorizeSetting(ctx, "ecs:ListAccountSettings", in.Name); err != nil {
		return nil, err
	}
	principal, err := settingsOwner(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	sc := scopeOf(ctx)
	var names []string
	owner := map[string]string{}
	err = s.store.View(ctx, func(tx store.Tx) error {
		names = nil
		for name, value := range settled {
			if in.Name != "" && in.Name != name || in.Value != nil && *in.Value != value {
				continue
			}
			_, err := s.accountSettings.Get(tx, sc.key("account-setting", string(name), tokenKey(principal)))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			owner[string(name)] = principal
			if err != nil {
				owner[string(name)] = accountRoot(ctx)
				if !in.EffectiveSettings {
					continue
				}
			}
			names = append(names, string(name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	out := &ecs.ListAccountSettingsOutput{Settings: []types.Setting{}}
	var most *int32
	if in.MaxResults != 0 {
		most = aws.Int32(in.MaxResults)
	}
	names, out.NextToken, err = page(names, most, in.NextToken, ascending)
	for _, name := range names {
		n := types.SettingName(name)
		out.Settings = append(out.Settings, types.Setting{Name: n, PrincipalArn: aws.String(owner[name]), Type: settingType(n), Value: aws.String(settled[n])})
	}
	return out, err
}
