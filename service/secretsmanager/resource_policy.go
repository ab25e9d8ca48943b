package secretsmanager

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// PutResourcePolicy attaches a policy to a secret: it decides from the next request on.
func (s *Service) PutResourcePolicy(ctx context.Context, in *secretsmanager.PutResourcePolicyInput) (*secretsmanager.PutResourcePolicyOutput, error) {
	block := aws.ToBool(in.BlockPublicPolicy)
	a := access{action: "secretsmanager:PutResourcePolicy", secretID: *in.SecretId}
	if in.BlockPublicPolicy != nil {
		a.conditions = map[string][]string{"secretsmanager:BlockPublicPolicy": boolCondition(block)}
	}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	put, document, err := attached.New(ctx, policy.Resource, *in.ResourcePolicy, s.principals)
	var syntax *policy.SyntaxError
	var nobody *attached.InvalidPrincipal
	switch {
	case errors.As(err, &syntax):
		return nil, malformedPolicy(syntax.Error())
	case errors.As(err, &nobody):
		return nil, malformedPolicy("This resource policy contains an unsupported principal: " + nobody.Principal)
	case err != nil:
		return nil, err
	case block && document.Public():
		return nil, &types.PublicPolicyException{Message: aws.String("The BlockPublicPolicy parameter is set to true, and the resource policy did not prevent broad access to the secret.")}
	}
	x, err = s.setPolicy(ctx, a, x, put)
	if err != nil {
		return nil, err
	}
	return &secretsmanager.PutResourcePolicyOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name)}, nil
}

// GetResourcePolicy returns the policy as it was put, to the byte while those whom it
// names are still there, or none.
func (s *Service) GetResourcePolicy(ctx context.Context, in *secretsmanager.GetResourcePolicyInput) (*secretsmanager.GetResourcePolicyOutput, error) {
	x, err := s.authorizedSecret(ctx, access{action: "secretsmanager:GetResourcePolicy", secretID: *in.SecretId})
	if err != nil {
		return nil, err
	}
	if err := x.active(); err != nil {
		return nil, err
	}
	text, err := x.Policy.Read(ctx, s.principals)
	if err != nil {
		return nil, err
	}
	return &secretsmanager.GetResourcePolicyOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name), ResourcePolicy: nonEmpty(text)}, nil
}

// DeleteResourcePolicy takes the policy off. Without one it does nothing.
func (s *Service) DeleteResourcePolicy(ctx context.Context, in *secretsmanager.DeleteResourcePolicyInput) (*secretsmanager.DeleteResourcePolicyOutput, error) {
	a := access{action: "secretsmanager:DeleteResourcePolicy", secretID: *in.SecretId}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	x, err = s.setPolicy(ctx, a, x, attached.Policy{})
	if err != nil {
		return nil, err
	}
	return &secretsmanager.DeleteResourcePolicyOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name)}, nil
}

func (s *Service) setPolicy(ctx context.Context, a access, x *secret, put attached.Policy) (*secret, error) {
	return s.change(ctx, a, x, func(_ store.Tx, x *secret) error {
		if err := x.active(); err != nil {
			return err
		}
		x.Policy = put
		x.Changed = s.timestamp()
		return nil
	})
}

// ValidateResourcePolicy says what is wrong with a policy without attaching it: that it
// is none, that it lets everyone in, or that it shuts the caller out for good.
func (s *Service) ValidateResourcePolicy(ctx context.Context, in *secretsmanager.ValidateResourcePolicyInput) (*secretsmanager.ValidateResourcePolicyOutput, error) {
	const action = "secretsmanager:ValidateResourcePolicy"
	arn := "*"
	if in.SecretId != nil {
		x, err := s.authorizedSecret(ctx, access{action: action, secretID: *in.SecretId})
		if err != nil {
			return nil, err
		}
		arn = x.arn
	} else if err := s.authorize(ctx, action); err != nil {
		return nil, err
	}

	out := &secretsmanager.ValidateResourcePolicyOutput{ValidationErrors: []types.ValidationErrorsEntry{}}
	found := func(check, message string) {
		out.ValidationErrors = append(out.ValidationErrors, types.ValidationErrorsEntry{CheckName: aws.String(check), ErrorMessage: aws.String(message)})
	}
	document, err := policy.Parse(policy.Resource, []byte(*in.ResourcePolicy))
	var syntax *policy.SyntaxError
	switch {
	case errors.As(err, &syntax):
		found("SYNTAX_CHECK", syntax.Explain())
	case err != nil:
		found("SYNTAX_CHECK", err.Error())
	default:
		if document.Public() {
			found("PUBLIC_POLICY_CHECK", "The resource policy grants broad access to the secret.")
		}
		if locksOut(caller.From(ctx).Principal, document, arn) {
			found("LOCKOUT_CHECK", "The resource policy will not allow you to update the resource policy in the future.")
		}
	}
	out.PolicyValidationPassed = len(out.ValidationErrors) == 0
	return out, nil
}

// locksOut reports whether document denies the caller to put another.
func locksOut(p *caller.Principal, document *policy.Document, arn string) bool {
	principalARN := p.ARN
	if p.Type == caller.AssumedRole {
		principalARN = p.RoleARN
	}
	decision := policy.Evaluate(&policy.Request{
		Principal: p.Policy(),
		Action:    "secretsmanager:PutResourcePolicy", Resource: arn,
		Context: policy.Context{
			"aws:principalarn": {principalARN}, "aws:principalaccount": {p.Account}, "aws:principaltype": {string(p.Type)},
		},
	}, &policy.Set{Resource: &policy.Source{Document: document}, Kind: policy.Resource})
	return decision.Explicit && !decision.Allowed
}
