package ssm

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

const (
	dataTypeText = "text"

	maxStandard = 4096 // bytes of a value
	maxAdvanced = 8192
	maxValue    = 32768

	// A writer that always finds that another was faster gives up.
	maxAttempts = 10
)

// PutParameter makes a parameter, or with Overwrite a new version of one, which inherits
// what the request leaves out.
func (s *Service) PutParameter(ctx context.Context, in *ssm.PutParameterInput) (*ssm.PutParameterOutput, error) {
	r := parseName(ctx, *in.Name)
	overwrite := aws.ToBool(in.Overwrite)
	for range maxAttempts {
		existing, err := s.existing(ctx, &r)
		if err != nil {
			return nil, err
		}
		if err := s.authorizePut(ctx, &r, existing, in); err != nil {
			return nil, err
		}

		if err := r.writable(); err != nil {
			return nil, err
		}
		if err := validatePut(in); err != nil {
			return nil, err
		}
		if existing != nil && !overwrite {
			return nil, alreadyExists()
		}
		v, err := nextVersion(existing, in, s.now())
		if err != nil {
			return nil, err
		}
		if err := s.withinQuota(ctx, &r, existing, in.Tier, v); err != nil {
			return nil, err
		}
		if v.Type == types.ParameterTypeSecureString {
			if v.Value, err = s.seal(ctx, r.arn(), v.KeyID, v.Tier, v.Value); err != nil {
				return nil, err
			}
		}
		v.Modified, v.ModifiedBy = s.now(), caller.From(ctx).Principal.ARN

		err = s.putVersion(ctx, &r, existing, v, tagMap(in.Tags))
		if err == errChanged {
			continue
		}
		if err != nil {
			return nil, err
		}
		if existing != nil && existing.Current.Tier != v.Tier {
			s.gaveBack(&r, existing.Current.Tier)
		}
		return &ssm.PutParameterOutput{Version: v.Number, Tier: v.Tier}, nil
	}
	return nil, tooManyUpdates()
}

// existing returns the parameter that r refers to, nil if there is none.
func (s *Service) existing(ctx context.Context, r *ref) (*parameter, error) {
	if r.err != nil {
		return nil, nil
	}
	var p *parameter
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		p, err = s.parameters.Get(tx, r.key())
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return p, err
}

func (s *Service) authorizePut(ctx context.Context, r *ref, existing *parameter, in *ssm.PutParameterInput) error {
	access := &authz.Access{
		Action: "ssm:PutParameter", Resource: r.arn(), RequestTags: tagMap(in.Tags), Kind: policy.Resource,
		Conditions: map[string][]string{"ssm:Overwrite": {strconv.FormatBool(aws.ToBool(in.Overwrite))}},
	}
	if existing != nil {
		source, err := existing.policy()
		if err != nil {
			return err
		}
		access.Tags, access.Policy = existing.Tags, source
	}
	if policies := aws.ToString(in.Policies); policies != "" {
		access.Conditions["ssm:Policies"] = []string{policies}
	}
	if err := s.authz.Authorize(ctx, access); err != nil || len(in.Tags) == 0 {
		return err
	}
	tagging := &authz.Access{Action: "ssm:AddTagsToResource", Resource: access.Resource, RequestTags: access.RequestTags, Tags: access.Tags, Policy: access.Policy, Kind: policy.Resource}
	return s.authz.Authorize(ctx, tagging)
}

// validatePut checks what does not depend on a parameter that there is.
func validatePut(in *ssm.PutParameterInput) error {
	switch value := *in.Value; {
	case value == "":
		return validation("1 validation error detected: Value '' at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case len(value) > maxValue:
		return validation("Value at 'value' failed to satisfy constraint: Member must have length less than or equal to %d", maxValue)
	case nested.MatchString(value):
		return validation(`Parameter value can't nest another parameter. Do not use "{{}}" in the value.`)
	}
	if aws.ToBool(in.Overwrite) && len(in.Tags) > 0 {
		return validation("Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.")
	}
	if dataType := aws.ToString(in.DataType); dataType != "" && dataType != dataTypeText {
		return validation("The following data type is not supported: %s (Data type names are all lowercase.)", dataType)
	}
	return checkTags(tagMap(in.Tags))
}

var nested = lazyregexp.New(`\{\{[\s\S]*\}\}`)

// nextVersion is what the request makes, with the value in clear.
func nextVersion(existing *parameter, in *ssm.PutParameterInput, now time.Time) (*version, error) {
	v := &version{Number: 1, DataType: dataTypeText, Tier: types.ParameterTierStandard}
	if existing != nil {
		last := existing.Current
		v = &last
		v.Number++
		v.Policies = inherited(v.Policies, now)
	} else if in.Type == "" {
		return nil, validation("A parameter type is required when you create a parameter.")
	}
	v.Value = *in.Value

	if in.Type != "" && in.Type != v.Type {
		if existing != nil {
			return nil, typeMismatch()
		}
		v.Type = in.Type
	}
	switch {
	case v.Type == types.ParameterTypeSecureString:
		if in.KeyId != nil {
			v.KeyID = *in.KeyId
		}
		if v.KeyID == "" {
			v.KeyID = defaultKey
		}
	case in.KeyId != nil:
		return nil, validation("KeyId is required for SecureString type parameter only.")
	}

	if text := aws.ToString(in.Policies); text != "" {
		var err error
		if v.Policies, err = parsePolicies(text, now); err != nil {
			return nil, err
		}
	}
	tier, err := nextTier(existing, in, len(v.Policies) > 0)
	if err != nil {
		return nil, err
	}
	v.Tier = tier
	if in.Description != nil {
		v.Description = *in.Description
	}
	if in.AllowedPattern != nil {
		v.AllowedPattern = *in.AllowedPattern
	}
	return v, checkPattern(v.AllowedPattern, v.Value)
}

// nextTier resolves the tier that a request asks for. A parameter never goes back from
// advanced to standard.
func nextTier(existing *parameter, in *ssm.PutParameterInput, policies bool) (types.ParameterTier, error) {
	size := len(*in.Value)
	advanced := existing != nil && existing.Current.Tier == types.ParameterTierAdvanced
	switch in.Tier {
	case types.ParameterTierStandard:
		if advanced {
			return "", validation("This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a standard parameter.")
		}
	case types.ParameterTierAdvanced:
		advanced = true
	case types.ParameterTierIntelligentTiering:
		advanced = advanced || size > maxStandard || policies
	}
	switch {
	case !advanced && policies:
		return "", validation("Standard tier parameters don't support parameter policies. To use Policies, set Tier to Advanced or Intelligent-Tiering.")
	case !advanced && size > maxStandard:
		return "", validation("Standard tier parameters support a maximum parameter value of %d characters. To create a larger parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html", maxStandard)
	case size > maxAdvanced:
		return "", validation("Advanced tier parameters support a maximum parameter value of %d characters.", maxAdvanced)
	case advanced:
		return types.ParameterTierAdvanced, nil
	}
	return types.ParameterTierStandard, nil
}

// checkPattern holds the whole value to the pattern. The patterns are Go's: what only
// AWS's know, look-around above all, is refused rather than passed over.
func checkPattern(pattern, value string) error {
	if pattern == "" {
		return nil
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return invalidPattern(err.Error())
	}
	whole, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		return invalidPattern(err.Error())
	}
	if !whole.MatchString(value) {
		return patternMismatch(pattern)
	}
	return nil
}

var errChanged = errors.New("another request was faster")

// putVersion stores v as the current version of existing, or of a new parameter.
func (s *Service) putVersion(ctx context.Context, r *ref, existing *parameter, v *version, tags map[string]string) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		now, err := s.parameters.Get(tx, r.key())
		switch {
		case errors.Is(err, store.ErrNotFound):
			if existing != nil {
				return errChanged
			}
			return s.put(tx, r, &parameter{Name: r.shown, Current: *v, Oldest: v.Number, Tags: tags})
		case err != nil:
			return err
		case existing == nil || now.Current.Number != existing.Current.Number || !now.Current.Modified.Equal(existing.Current.Modified),
			!slices.EqualFunc(now.Current.Policies, existing.Current.Policies, samePolicy), // executed meanwhile
			!now.sameRights(existing): // which the caller's rights may rest on
			return errChanged
		}

		p := *now // its labels may have changed since
		if err := s.versions.Put(tx, r.versionKey(p.Current.Number), &p.Current); err != nil {
			return err
		}
		p.Current = *v
		if p.Current.Number-p.Oldest+1 > maxVersions {
			if len(p.labels(p.Oldest)) > 0 {
				return oldestVersionLabelled(p.Name, p.Oldest)
			}
			if err := s.versions.Delete(tx, r.versionKey(p.Oldest)); err != nil {
				return err
			}
			p.Oldest++
		}
		return s.put(tx, r, &p)
	})
}
