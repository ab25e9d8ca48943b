package kms

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/store"
)

// use is what an operation wants to do with one key.
type use struct {
	action     string // "kms:Decrypt"
	keyID      string // as the request names it
	takesAlias bool   // whether keyID may be an alias

	crypto      bool // with its material: the conditions of encryption apply
	context     map[string]string
	conditions  map[string][]string // the operation's own
	requestTags map[string]string
	tagKeys     []string
	grantTokens []string
	delegates   *grant // that CreateGrant is to make: a grant lets it make only such as itself

	// makeManaged makes alias/aws/… refer to a key from now on: DescribeKey does that.
	makeManaged bool
}

// authorizedKey finds the key that u names and asks whether the caller may use it so.
// Those who may not learn nothing of whether it exists.
func (s *Service) authorizedKey(ctx context.Context, u use) (*key, error) {
	request := caller.From(ctx)
	r := parseRef(u.keyID, request.Region, request.Principal.Account, u.takesAlias)
	k, err := s.find(ctx, request, r)
	if err != nil {
		if k, err = s.absent(ctx, request, u, r, err); err != nil {
			return nil, err
		}
	}
	if err := s.authorizeKey(ctx, u, k, r.alias); err != nil {
		return nil, err
	}
	return k, nil
}

// find returns the key that r refers to, with what has come due done to it. Its error is
// r's own, store.ErrNotFound, or a failure.
func (s *Service) find(ctx context.Context, request *caller.Request, r ref) (*key, error) {
	if r.err != nil {
		return nil, r.err
	}
	var k *key
	var err error
	if r.alias == "" {
		k, err = s.keys.Look(ctx, s.store, keyPath(r.account, request.Region, r.id))
	} else {
		err = store.Look(ctx, s.store, func(tx store.Tx) error {
			a, err := s.aliases.Get(tx, aliasPath(r.account, request.Region, r.alias))
			if err != nil {
				return err
			}
			k, err = s.keys.Get(tx, keyPath(r.account, request.Region, a.KeyID))
			return err
		})
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading key %s: %w", r.arn, err)
	}
	return s.settle(ctx, k)
}

// absent authorizes the use of what find did not find, by the caller's own policies, and
// says that it is not there; unless it is an AWS managed key, which is then made. The
// service that such a key is of needs no permission to have it made.
func (s *Service) absent(ctx context.Context, request *caller.Request, u use, r ref, cause error) (*key, error) {
	var notFound *types.NotFoundException
	if !errors.Is(cause, store.ErrNotFound) && !errors.As(cause, &notFound) {
		return nil, cause
	}
	if via := viaService(request); notFound == nil && via != "" && isManagedBy(via, request, r) {
		return s.makeManaged(ctx, request, r.alias)
	}
	access := &authz.Access{
		Action: u.action, Resource: r.arn, Account: r.account, Conditions: u.allConditions(r.alias),
		RequestTags: u.requestTags, TagKeys: u.tagKeys, EncryptionContext: u.context,
	}
	if r.account != request.Principal.Account {
		access.Kind = policy.Key // a stranger is told what strangers of a key are told
	}
	if err := s.authz.Authorize(ctx, access); err != nil {
		return nil, err
	}
	switch {
	case notFound != nil:
		return nil, notFound
	case r.alias == "":
		return nil, keyNotFound(r.arn)
	case u.makeManaged && isManagedBy("", request, r):
		return s.makeManaged(ctx, request, r.alias)
	}
	return nil, aliasNotFound(r.arn)
}

// authorizeKey asks k's policy, and the caller's own as far as it lets them count.
func (s *Service) authorizeKey(ctx context.Context, u use, k *key, requestAlias string) error {
	c, err := k.compiled()
	if err != nil {
		return err
	}
	grants, err := s.grantsFor(ctx, k, u.action, u.delegates)
	if err != nil {
		return err
	}
	named := ""
	if k.Account != caller.From(ctx).Principal.Account {
		named = u.keyID // a stranger does not learn which key an alias is of, and with it that there is one
	}
	err = s.authz.Authorize(ctx, &authz.Access{
		Action: u.action, Resource: k.arn(), Account: k.Account, Named: named,
		Conditions: u.allConditions(requestAlias), ResourceConditions: c.conditionsOf(u.crypto),
		Tags: c.tags, RequestTags: u.requestTags, TagKeys: u.tagKeys,
		Policy: c.policy, Kind: policy.Key, Grants: grants,
		EncryptionContext: u.context,
	})
	if err != nil {
		return err
	}
	return s.checkGrantTokens(ctx, u.grantTokens)
}

// allConditions returns the condition keys of a request that are KMS's to say; authz knows
// those that follow from the call. The result is not to be changed.
func (u *use) allConditions(requestAlias string) map[string][]string {
	if requestAlias == "" {
		return u.conditions
	}
	all := make(map[string][]string, len(u.conditions)+1)
	maps.Copy(all, u.conditions)
	all["kms:RequestAlias"] = []string{requestAlias}
	return all
}

// conditionsOf are the condition keys of a key's own, with those of encryption or without.
func (c *compiled) conditionsOf(crypto bool) map[string][]string {
	if crypto {
		return c.cryptoConditions
	}
	return c.conditions
}

// keyConditions are the condition keys of every use of a key.
func (k *key) keyConditions() map[string][]string {
	conditions := map[string][]string{
		"kms:KeySpec":     {string(k.spec())},
		"kms:KeyUsage":    {string(k.usage())},
		"kms:KeyOrigin":   {string(k.origin())},
		"kms:MultiRegion": boolCondition(k.MultiRegion != nil),
	}
	if k.MultiRegion != nil {
		conditions["kms:MultiRegionKeyType"] = []string{string(k.regionType())}
	}
	if len(k.Aliases) > 0 {
		conditions["kms:ResourceAliases"] = k.Aliases
	}
	return conditions
}

var symmetricDefaultCondition = []string{string(types.EncryptionAlgorithmSpecSymmetricDefault)}

func boolCondition(b bool) []string { return []string{strconv.FormatBool(b)} }

// viaService is the service that made the call for the caller ("secretsmanager"), or "".
func viaService(request *caller.Request) string {
	if len(request.Via) == 0 {
		return ""
	}
	return strings.TrimSuffix(request.Via[len(request.Via)-1], ".amazonaws.com")
}
