package secretsmanager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// CreateSecret makes a secret, with a first version if there is a value. Asked again with
// the same token and value it gives the same answer.
func (s *Service) CreateSecret(ctx context.Context, in *secretsmanager.CreateSecretInput) (*secretsmanager.CreateSecretOutput, error) {
	request := caller.From(ctx)
	now := s.timestamp()
	x := &secret{
		Name: *in.Name, Suffix: newSuffix(), Account: request.Principal.Account, Region: request.Region,
		Description: aws.ToString(in.Description), Created: now, Changed: now,
	}
	x.KmsKeyID = cleanKeyID(aws.ToString(in.KmsKeyId), x)
	tags, tagsErr := addTags(nil, in.Tags)
	x.Prepare()
	a := access{action: "secretsmanager:CreateSecret", requestTags: requestTags(in.Tags), conditions: keyConditions(in.KmsKeyId)}
	a.conditions["secretsmanager:Name"] = []string{*in.Name}
	if len(in.AddReplicaRegions) > 0 {
		maps.Copy(a.conditions, replicaConditions(in.AddReplicaRegions, in.ForceOverwriteReplicaSecret))
	}
	if in.Description != nil {
		a.conditions["secretsmanager:Description"] = []string{*in.Description}
	}
	if in.Type != nil {
		a.conditions["secretsmanager:Type"] = []string{*in.Type}
	}
	x.tags = a.requestTags // aws:ResourceTag is of the secret to be, or no policy by tags would let one make it
	if err := s.authorizeSecret(ctx, a, x); err != nil {
		return nil, err
	}
	if len(in.Tags) > 0 {
		if err := s.authorizeSecret(ctx, access{action: "secretsmanager:TagResource", requestTags: a.requestTags}, x); err != nil {
			return nil, err
		}
	}

	if err := s.authorizeReplicas(ctx, x, in); err != nil {
		return nil, err
	}

	p, err := newPlain(in.SecretString, in.SecretBinary)
	replicas, replicasErr := x.newReplicas(in.AddReplicaRegions)
	switch {
	case !isName(*in.Name):
		return nil, invalidName()
	case in.ClientRequestToken == nil:
		return nil, noToken()
	case err != nil:
		return nil, err
	case replicasErr != nil:
		return nil, replicasErr
	case in.Type != nil:
		return nil, notSupported("Type")
	case tagsErr != nil:
		return nil, tagsErr
	}
	if p != nil && len(p.bytes) == 0 {
		p = nil
	}
	x.Tags, x.Tagged, x.Replicas = tags, len(tags) > 0, replicas
	for i := range x.Replicas {
		x.Replicas[i].begin(now)
	}

	for range attempts {
		made, err := s.createSecret(ctx, x, p, *in.ClientRequestToken)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return nil, err
		}
		made = s.catchUp(ctx, made, in.ForceOverwriteReplicaSecret)
		out := &secretsmanager.CreateSecretOutput{ARN: aws.String(made.arn), Name: aws.String(made.Name)}
		if p != nil {
			out.VersionId = in.ClientRequestToken
		}
		out.ReplicationStatus, err = s.replicationStatus(ctx, made)
		return out, err
	}
	return nil, fmt.Errorf("creating secret %s: %w", x.Name, errMoved)
}

func (s *Service) createSecret(ctx context.Context, x *secret, p *plain, token string) (*secret, error) {
	id := secretID{account: x.Account, name: x.Name}
	switch old, err := s.find(ctx, &id, x.Region, nil); {
	case err == nil:
		return s.createdAlready(ctx, old, p, token)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}

	x = x.clone()
	var sealed *value
	if p != nil {
		v, stored, err := s.seal(ctx, x, token, p)
		if err != nil {
			return nil, err
		}
		sealed, x.Versions = stored, []version{v}
		x.attach(current, v.ID)
	} else if x.KmsKeyID != "" {
		if err := s.checkKey(ctx, x); err != nil {
			return nil, err
		}
	}
	x.Prepare()
	err := s.store.Update(ctx, func(tx store.Tx) error {
		switch old, err := s.secrets.Get(tx, x.path()); {
		case err == nil && !old.gone(s.now):
			return errMoved
		case err == nil && len(old.Versions) > maxAtOnce:
			return errCrowded
		case err == nil:
			if _, err := s.remove(tx, old); err != nil {
				return err
			}
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		if sealed != nil {
			if err := s.values.Put(tx, x.valuePath(token), sealed); err != nil {
				return err
			}
		}
		if err := tx.Put(x.createdPath(), []byte{1}); err != nil {
			return err
		}
		x.Lagging = false // a second time as the first
		if err := x.queueLag(tx); err != nil {
			return err
		}
		return s.secrets.Put(tx, x.path(), x)
	})
	switch {
	case errors.Is(err, errCrowded):
		return nil, cmp.Or(s.purge(ctx, x.path()), errMoved)
	case err != nil:
		return nil, err
	}
	return x, nil
}

// errCrowded says that what a deleted secret left is too much for one transaction.
var errCrowded = errors.New("secretsmanager: a deleted secret is to be cleared away first")

// createdAlready answers for a name that is taken: the same request again is no error.
func (s *Service) createdAlready(ctx context.Context, old *secret, p *plain, token string) (*secret, error) {
	if !old.Deletion.IsZero() {
		return nil, invalidRequest("You can't create this secret because a secret with this name is already scheduled for deletion.")
	}
	v := old.version(token)
	if p == nil || v == nil || v.Key == "" {
		return nil, exists("The operation failed because the secret %s already exists.", old.Name)
	}
	same, err := s.holds(ctx, old, v, p)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, errMoved
	case err != nil:
		return nil, err
	case !same:
		return nil, tokenInUse(token, old.arn)
	}
	return old, nil
}

// keyConditions are the condition keys of a request that chooses a KMS key.
func keyConditions(keyID *string) map[string][]string {
	conditions := map[string][]string{}
	if keyID != nil {
		conditions["secretsmanager:KmsKeyId"] = []string{*keyID}
		if strings.HasPrefix(*keyID, "arn:") && strings.Contains(*keyID, ":key/") {
			conditions["secretsmanager:KmsKeyArn"] = []string{*keyID}
		}
	}
	return conditions
}

// putVersion gives x, on which the caller was allowed a, a version called token with value
// p and stages on it (AWSCURRENT if there are none). A version called token that has the
// value already is left as it is.
func (s *Service) putVersion(ctx context.Context, a access, x *secret, token string, p *plain, stages []string) (*secret, error) {
	for range attempts {
		changed, err := s.tryPutVersion(ctx, a, x, token, p, stages, nil)
		if !errors.Is(err, errMoved) {
			return changed, err
		}
		if x, err = s.again(ctx, a, x); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("putting a value into secret %s: %w", x.Name, errMoved)
}

// tryPutVersion is an attempt of putVersion; it does more to x in the same transaction.
func (s *Service) tryPutVersion(ctx context.Context, a access, x *secret, token string, p *plain, stages []string, more func(tx store.Tx, x *secret) error) (*secret, error) {
	if v := x.version(token); v != nil && v.Key != "" {
		same, err := s.holds(ctx, x, v, p)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, errMoved
		case err != nil:
			return nil, err
		case !same:
			return nil, tokenInUse(token, x.arn)
		case more == nil:
			return x, nil
		}
		return s.change(ctx, a, x, more)
	}

	target := x
	if more != nil {
		// What more does to the key decides what the version is sealed under.
		target = x.clone()
		if err := more(nil, target); err != nil {
			return nil, err
		}
		target.Prepare()
	}
	sealed, stored, err := s.seal(ctx, target, token, p)
	if err != nil {
		return nil, err
	}
	followers, err := s.sealFollowers(ctx, x, sealed, p)
	if err != nil {
		return nil, err
	}
	put := func(tx store.Tx, now *secret) error {
		if err := now.active(); err != nil {
			return err
		}
		if v := now.version(token); v != nil && v.Key != "" || now.KmsKeyID != x.KmsKeyID {
			return errMoved
		}
		if more != nil {
			if err := more(tx, now); err != nil {
				return err
			}
		}
		was := now.holder(current)
		if err := now.put(sealed, stages); err != nil {
			return err
		}
		if is := now.holder(current); is != was {
			if err := now.revalued(tx, sealed.Created); err != nil {
				return err
			}
		}
		for _, id := range now.prune(sealed.Created) {
			if err := s.values.Delete(tx, now.valuePath(id)); err != nil {
				return err
			}
		}
		now.sendTo(followers, sealed.Created)
		return s.values.Put(tx, now.valuePath(token), stored)
	}
	changed, err := s.change(ctx, a, x, put)
	if errors.Is(err, errTooMuch) && len(followers) > 0 {
		followers = nil // one by one, then
		return s.change(ctx, a, x, put)
	}
	return changed, err
}

// put adds version v, or gives its value to a version that was waiting for one, and puts
// stages on it. The first version of a secret is the current one whatever stages say.
func (x *secret) put(v version, stages []string) error {
	first := len(x.Versions) == 0
	if waiting := x.version(v.ID); waiting != nil {
		v.Stages = waiting.Stages
		*waiting = v
	} else {
		x.Versions = append(x.Versions, v)
	}
	if len(stages) == 0 || first && !slices.Contains(stages, current) {
		x.attach(current, v.ID)
	}
	for _, label := range stages {
		x.attach(label, v.ID)
	}
	if x.labels() > maxLabels {
		return limitExceeded("The versions of secret %s can't have more than %d staging labels.", x.arn, maxLabels)
	}
	x.Changed = v.Created
	return nil
}
