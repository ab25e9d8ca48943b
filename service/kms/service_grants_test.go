package kms

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/caller"
)

// A service that a key's policy lets make grants makes one to itself, uses it for what it is
// for, and retires it. Nobody else makes grants to services.
func TestAServiceGrantsItself(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	service := func(name string) context.Context {
		return as(t.Context(), &caller.Principal{Type: caller.Service, Service: name, Account: testAccount, ARN: name, ID: name})
	}
	const fargate, other = "fargate.amazonaws.com", "ecs-tasks.amazonaws.com"
	made, err := s.CreateKey(rootUser(t.Context()), &kms.CreateKeyInput{Policy: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"Service":["fargate.amazonaws.com","ecs-tasks.amazonaws.com"]},"Action":["kms:GenerateDataKeyWithoutPlaintext","kms:CreateGrant"],"Resource":"*","Condition":{"StringEquals":{"kms:EncryptionContext:cluster":"a"}}}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	key, pairs := made.KeyMetadata.KeyId, map[string]string{"cluster": "a"}
	wants := func(what string, err error, code string) {
		t.Helper()
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != code {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
	}
	in := func(grantee, cluster string) *kms.CreateGrantInput {
		return &kms.CreateGrantInput{
			KeyId: key, GranteePrincipal: &grantee, RetiringPrincipal: &grantee, Operations: []types.GrantOperation{types.GrantOperationDecrypt},
			Constraints: &types.GrantConstraints{EncryptionContextSubset: map[string]string{"cluster": cluster}},
		}
	}
	sealed, err := s.GenerateDataKeyWithoutPlaintext(service(fargate), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: key, NumberOfBytes: aws.Int32(64), EncryptionContext: pairs})
	if err != nil {
		t.Fatal(err)
	}
	open := &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob, EncryptionContext: pairs, KeyId: key}
	_, err = s.Decrypt(service(fargate), open)
	wants("Decrypt before the grant", err, "AccessDeniedException")
	_, err = s.CreateGrant(service(fargate), in(fargate, "b"))
	wants("CreateGrant for another context", err, "AccessDeniedException")
	_, err = s.CreateGrant(service(fargate), in(other, "a"))
	wants("CreateGrant to another service", err, "InvalidArnException")
	_, err = s.CreateGrant(rootUser(t.Context()), in(fargate, "a"))
	wants("CreateGrant to a service by root", err, "InvalidArnException")
	grant, err := s.CreateGrant(service(fargate), in(fargate, "a"))
	if err != nil {
		t.Fatal(err)
	}
	one, err := s.Decrypt(service(fargate), open)
	if err != nil {
		t.Fatal(err)
	}
	if len(one.Plaintext) != 64 || bytes.Equal(one.Plaintext, make([]byte, 64)) {
		t.Errorf("Decrypt: %d bytes", len(one.Plaintext))
	}
	_, err = s.Decrypt(service(other), open)
	wants("Decrypt by another service", err, "AccessDeniedException")
	_, err = s.RetireGrant(service(other), &kms.RetireGrantInput{KeyId: key, GrantId: grant.GrantId})
	wants("RetireGrant by another service", err, "AccessDeniedException")
	if _, err := s.RetireGrant(service(fargate), &kms.RetireGrantInput{KeyId: key, GrantId: grant.GrantId}); err != nil {
		t.Error(err)
	}
	_, err = s.Decrypt(service(fargate), open)
	wants("Decrypt after the grant", err, "AccessDeniedException")
}
