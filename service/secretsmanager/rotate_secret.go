package secretsmanager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// RotateSecret configures the rotation of a secret and starts one. The scheduler does it:
// see RunRotations. Without RotateImmediately the function is only tested, on a copy of the
// current value, which the caller must be able to read.
//
// The caller must be allowed lambda:InvokeFunction on the function too.
//
// AWS: API_RotateSecret
func (s *Service) RotateSecret(ctx context.Context, in *secretsmanager.RotateSecretInput) (*secretsmanager.RotateSecretOutput, error) {
	immediately := in.RotateImmediately == nil || *in.RotateImmediately
	a := access{action: "secretsmanager:RotateSecret", secretID: *in.SecretId, conditions: map[string][]string{
		"secretsmanager:ModifyRotationRules": boolCondition(in.RotationRules != nil),
		"secretsmanager:RotateImmediately":   boolCondition(immediately),
	}}
	function := aws.ToString(in.RotationLambdaARN)
	stored := function == "" // or else given
	if !stored {
		a.conditions["secretsmanager:RotationLambdaARN"] = []string{function}
	}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	var given *rules
	switch {
	case in.ClientRequestToken == nil:
		return nil, invalidParameter("You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	case len(in.ExternalSecretRotationMetadata) > 0:
		return nil, notSupported("ExternalSecretRotationMetadata, which belongs to managed external secrets,")
	case in.ExternalSecretRotationRoleArn != nil:
		return nil, notSupported("ExternalSecretRotationRoleArn, which belongs to managed external secrets,")
	case in.RotationRules != nil:
		r, err := newRules(in.RotationRules)
		if err != nil {
			return nil, err
		}
		given = &r
	}
	if err := x.active(); err != nil {
		return nil, err
	}

	for range attempts {
		if stored {
			if function = x.function(); function == "" {
				return nil, invalidRequest("No Lambda rotation function ARN is associated with this secret.")
			}
		}
		if err := s.authorizeFunction(ctx, function); err != nil {
			return nil, err
		}
		changed, err := s.rotateSecret(ctx, a, x, function, stored, given, *in.ClientRequestToken, immediately)
		if err == nil {
			s.wakeScheduler()
			return &secretsmanager.RotateSecretOutput{ARN: aws.String(changed.arn), Name: aws.String(changed.Name), VersionId: in.ClientRequestToken}, nil
		}
		if !errors.Is(err, errMoved) {
			return nil, err
		}
		if x, err = s.again(ctx, a, x); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("rotating secret %s: %w", x.Name, errMoved)
}

// authorizeFunction asks whether the caller may invoke the function, and then whether there
// is one.
func (s *Service) authorizeFunction(ctx context.Context, function string) error {
	err := s.authz.Authorize(caller.Forward(ctx, "secretsmanager"), &authz.Access{Action: "lambda:InvokeFunction", Resource: function})
	if err != nil {
		return err
	}
	if s.functions == nil || !s.functions.Has(function) {
		return accessDenied("Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
	}
	return nil
}

// rotateSecret is an attempt of RotateSecret, by the secret's own function or another.
func (s *Service) rotateSecret(ctx context.Context, a access, x *secret, function string, own bool, given *rules, token string, immediately bool) (*secret, error) {
	var copied version
	var stored *value
	source := x.holder(current)
	if !immediately && source != nil && x.version(token) == nil {
		var err error
		if copied, stored, err = s.copyValue(ctx, x, source, token); err != nil {
			return nil, err
		}
	}
	now := s.timestamp()
	return s.change(ctx, a, x, func(tx store.Tx, x *secret) error {
		if err := x.active(); err != nil {
			return err
		}
		if own && x.function() != function {
			return errMoved // and ask about that one
		}
		h, err := s.getHistory(tx, x)
		if err != nil {
			return err
		}
		repeated, err := x.mayRotate(h, token)
		if err != nil {
			return err
		}
		if x.Rotation == nil {
			x.Rotation = &rotating{Since: now}
		}
		r := x.Rotation
		if !r.Enabled || given != nil && r.Rules.Schedule != given.Schedule {
			r.Since = now
		}
		r.Enabled, r.Function, x.Changed = true, function, now
		if given != nil {
			r.Rules = *given
		}
		if err := x.plan(tx, now); err != nil {
			return err
		}
		if repeated {
			if r.Token == token && h.last().Claim == "" {
				return x.lookAt(tx, now) // do not wait for the next attempt
			}
			return nil
		}
		if immediately {
			return s.startRun(tx, x, run{Token: token, Function: function, Started: now})
		}
		if stored == nil {
			return nil // there is no value to test with
		}
		if holder := x.holder(current); holder == nil || holder.ID != source.ID {
			return errMoved
		}
		x.Versions = append(x.Versions, copied)
		if err := s.values.Put(tx, x.valuePath(token), stored); err != nil {
			return err
		}
		return s.startRun(tx, x, run{Token: token, Function: function, Test: true, Started: now})
	})
}

// mayRotate reports whether a rotation called token was asked for before, or why none may
// start now.
func (x *secret) mayRotate(h *history, token string) (repeated bool, err error) {
	if known := h.of(token); known != nil {
		if known.Ended.IsZero() || known.Outcome == succeeded {
			return true, nil
		}
		// One that failed is tried again under its name, as long as it waits for that.
		if v := x.version(token); v != nil && slices.Contains(v.Stages, pending) {
			return false, nil
		}
	}
	last := h.last()
	busy := last != nil && last.Ended.IsZero() && (last.Test || last.Claim != "" && x.stands(last.Token))
	switch v := x.version(token); {
	case v != nil && slices.Contains(v.Stages, pending) && !slices.Contains(v.Stages, current):
		return false, nil
	case v != nil:
		return false, invalidParameter("You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, x.arn)
	case busy || x.unfinished():
		return false, invalidRequest("A previous rotation isn't complete. That rotation will be reattempted.")
	}
	return false, nil
}

// stands reports whether the version called id is about to become the current one, or is.
func (x *secret) stands(id string) bool {
	v := x.version(id)
	return v != nil && (slices.Contains(v.Stages, pending) || slices.Contains(v.Stages, current))
}

// copyValue makes a version called token with the value of v.
func (s *Service) copyValue(ctx context.Context, x *secret, v *version, token string) (version, *value, error) {
	sealed, err := s.readValue(ctx, x, v)
	if isAbsent(err) {
		return version{}, nil, errMoved
	}
	if err != nil {
		return version{}, nil, err
	}
	p, err := s.open(ctx, x, v, sealed)
	if err != nil {
		return version{}, nil, err
	}
	defer clear(p.bytes)
	return s.seal(ctx, x, token, p)
}

// CancelRotateSecret turns rotation off and ends the one in progress. The function and the
// rules stay; so does AWSPENDING, which keeps a later rotation from starting while it is on
// a version of its own.
//
// AWS: API_CancelRotateSecret
func (s *Service) CancelRotateSecret(ctx context.Context, in *secretsmanager.CancelRotateSecretInput) (*secretsmanager.CancelRotateSecretOutput, error) {
	a := access{action: "secretsmanager:CancelRotateSecret", secretID: *in.SecretId}
	x, err := s.authorizedSecret(ctx, a)
	if err != nil {
		return nil, err
	}
	var token string
	now := s.timestamp()
	x, err = s.change(ctx, a, x, func(tx store.Tx, x *secret) error {
		token = ""
		if err := x.active(); err != nil {
			return err
		}
		if x.Rotation == nil {
			return invalidRequest("You can't perform this operation on the secret because it was not configured for rotation.")
		}
		r := x.Rotation
		r.Enabled, x.Changed = false, now
		if r.Token == "" {
			return x.plan(tx, now)
		}
		token = r.Token
		h, err := s.getHistory(tx, x)
		if err != nil {
			return err
		}
		return s.endRun(tx, x, h, now, cancelled, "CancelRotateSecret was called.")
	})
	if err != nil {
		return nil, err
	}
	return &secretsmanager.CancelRotateSecretOutput{ARN: aws.String(x.arn), Name: aws.String(x.Name), VersionId: nonEmpty(token)}, nil
}

// clean makes one line of a function's words.
func clean(reason string) string {
	reason = strings.Join(strings.FieldsFunc(reason, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if limit := 512; len(reason) > limit {
		reason = strings.ToValidUTF8(reason[:limit], "") + "…"
	}
	return strings.ToValidUTF8(reason, "?")
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func isAbsent(err error) bool { return errors.Is(err, store.ErrNotFound) }
