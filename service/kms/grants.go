package kms

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

const (
	maxGrants          = 50_000 // of one key
	maxGrantPairs      = 8
	maxGrantPairLength = 384
)

// grant is a stored grant. It does not change.
type grant struct {
	ID       string // 64 hexadecimal digits
	Account  string // of the key
	Region   string
	KeyID    string
	Name     string `json:",omitempty"`
	Created  time.Time
	Issuer   string // the account that asked for it
	Grantee  grantPrincipal
	Retiring grantPrincipal `json:",omitzero"`

	Operations []types.GrantOperation // each once, in the order of the request
	Equals     map[string]string      `json:",omitempty"`
	Subset     map[string]string      `json:",omitempty"`

	Secret []byte // that makes tokens of this grant tell themselves from made-up ones
}

// grantPrincipal is whom a grant means: whoever is made again under the ARN is another.
type grantPrincipal struct {
	ARN string
	ID  string // of a user or role; of others the ARN
}

// Beside the record of a grant there are entries of the value {1}, which lead to it by
// its grantee and by its retiring principal, and one by what makes two requests the same.
func grantPrefix(account, region, keyID string) string {
	return "kms/" + account + "/" + region + "/grant/" + keyID + "/"
}

func granteePrefix(account, region, keyID, principal string) string {
	return "kms/" + account + "/" + region + "/grantee/" + keyID + "/" + digest(principal) + "/"
}

func retirablePrefix(region, principal string) string {
	return "kms/retirable/" + region + "/" + digest(principal) + "/"
}

func (g *grant) path() string { return grantPrefix(g.Account, g.Region, g.KeyID) + g.ID }

func (g *grant) granteePath() string {
	return granteePrefix(g.Account, g.Region, g.KeyID, g.Grantee.ID) + g.ID
}

func (g *grant) retirablePath() string {
	return retirablePrefix(g.Region, g.Retiring.ID) + g.Account + "/" + g.KeyID + "/" + g.ID
}

// samePath is the same for grants that CreateGrant takes for one.
func (g *grant) samePath() string {
	text, err := json.Marshal([]any{g.Name, g.Issuer, g.Grantee.ID, g.Retiring.ID, slices.Sorted(slices.Values(g.Operations)), g.Equals, g.Subset})
	if err != nil {
		panic(err) // strings alone
	}
	return "kms/" + g.Account + "/" + g.Region + "/grantname/" + g.KeyID + "/" + digest(string(text))
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

func (s *Service) putGrant(tx store.Tx, g *grant) error {
	if err := s.grants.Put(tx, g.path(), g); err != nil {
		return err
	}
	if g.Name != "" {
		if err := tx.Put(g.samePath(), []byte(g.ID)); err != nil {
			return err
		}
	}
	if g.Retiring.ID != "" {
		if err := tx.Put(g.retirablePath(), []byte{1}); err != nil {
			return err
		}
	}
	return tx.Put(g.granteePath(), []byte{1})
}

func (s *Service) deleteGrant(tx store.Tx, g *grant) error {
	paths := []string{g.granteePath()}
	if g.Name != "" {
		paths = append(paths, g.samePath())
	}
	if g.Retiring.ID != "" {
		paths = append(paths, g.retirablePath())
	}
	for _, path := range paths {
		if err := tx.Delete(path); err != nil {
			return err
		}
	}
	return s.grants.Delete(tx, g.path())
}

// dropGrant takes a grant away from k, a copy of its key.
func (s *Service) dropGrant(tx store.Tx, k *key, g *grant) error {
	now, err := s.grants.Get(tx, g.path())
	if errors.Is(err, store.ErrNotFound) {
		return noGrant(g.ID)
	}
	if err != nil {
		return err
	}
	k.Grants--
	k.Withdrawn++
	return s.deleteGrant(tx, now)
}

// dropGrants takes away some grants of a key that is due for deletion, and reports whether
// there may be more: a transaction does not hold all that a key may have.
func (s *Service) dropGrants(ctx context.Context, keyPath string) (more bool, err error) {
	const batch = 20 // four writes each
	err = s.store.Update(ctx, func(tx store.Tx) error {
		more = false
		k, err := s.keys.Get(tx, keyPath)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil || !k.gone(s.now()) || k.Grants == 0 {
			return err
		}
		var some []*grant
		for row, err := range s.grants.Scan(tx, grantPrefix(k.Account, k.Region, k.ID), "") {
			if err != nil {
				return err
			}
			if len(some) == batch {
				more = true
				break
			}
			some = append(some, row.Value)
		}
		for _, g := range some {
			if err := s.deleteGrant(tx, g); err != nil {
				return err
			}
		}
		changed := k.clone()
		changed.Grants -= len(some)
		return s.keys.Put(tx, changed.path(), changed)
	})
	return more, err
}

// grantsFor returns the grants of k to the caller, as the evaluation wants them. A key
// without grants costs nothing.
func (s *Service) grantsFor(ctx context.Context, k *key, action string, delegates *grant) ([]policy.Grant, error) {
	if k.Grants == 0 {
		return nil, nil
	}
	_, operation, _ := strings.Cut(action, ":")
	var allowed []policy.Grant
	err := s.store.View(ctx, func(tx store.Tx) error {
		allowed = nil
		for _, name := range namesOf(caller.From(ctx).Principal) {
			for entry, err := range tx.Scan(granteePrefix(k.Account, k.Region, k.ID, name), "") {
				if err != nil {
					return err
				}
				g, err := s.grants.Get(tx, grantPrefix(k.Account, k.Region, k.ID)+entry.Key[strings.LastIndexByte(entry.Key, '/')+1:])
				if err != nil {
					return err
				}
				if !slices.Contains(g.Operations, types.GrantOperation(operation)) || delegates != nil && !g.covers(delegates) {
					continue
				}
				p := policy.Grant{ID: g.ID, GranteePrincipal: g.Grantee.ID, Operations: []string{operation}}
				if delegates == nil { // else covers has seen to the constraints
					p.EncryptionContextEquals, p.EncryptionContextSubset = g.Equals, g.Subset
				}
				allowed = append(allowed, p)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the grants of %s: %w", k.arn(), err)
	}
	return allowed, nil
}

// namesOf is every name by which a grant may mean p.
func namesOf(p *caller.Principal) []string {
	switch p.Type {
	case caller.Account:
		return []string{"arn:aws:iam::" + p.Account + ":root"}
	case caller.AssumedRole:
		return []string{p.RoleID, p.RoleARN, p.ARN}
	case caller.Service:
		return []string{p.Service}
	case caller.User, caller.FederatedUser:
		return []string{p.ID, p.ARN}
	}
	return nil
}

// covers reports whether g's permission to create grants reaches as far as child: no
// operation that g does not allow itself, under constraints that are as strict or stricter.
func (g *grant) covers(child *grant) bool {
	for _, operation := range child.Operations {
		if !slices.Contains(g.Operations, operation) {
			return false
		}
	}
	if g.Equals != nil && !maps.Equal(g.Equals, child.Equals) {
		return false
	}
	return includes(child.Subset, g.Subset) || includes(child.Equals, g.Subset)
}

func includes(all, some map[string]string) bool {
	for name, value := range some {
		if got, ok := all[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// resolveGrantPrincipal finds whom an ARN means.
func (s *Service) resolveGrantPrincipal(ctx context.Context, arn string) (grantPrincipal, error) {
	if isAccount(arn) {
		arn = "arn:aws:iam::" + arn + ":root"
	}
	// A service makes grants to itself.
	if p := caller.From(ctx).Principal; p.Type == caller.Service && p.Service == arn {
		return grantPrincipal{ARN: arn, ID: arn}, nil
	}
	invalid := invalidARN("ARN does not refer to a valid principal: %s", arn)
	if !strings.HasPrefix(arn, "arn:aws:iam::") && !strings.HasPrefix(arn, "arn:aws:sts::") {
		return grantPrincipal{}, invalid
	}
	if s.principals == nil {
		return grantPrincipal{ARN: arn, ID: arn}, nil
	}
	id, err := s.principals.Resolve(ctx, arn)
	if errors.Is(err, directory.ErrNotFound) {
		return grantPrincipal{}, invalid
	}
	if err != nil {
		return grantPrincipal{}, fmt.Errorf("looking for %s: %w", arn, err)
	}
	return grantPrincipal{ARN: arn, ID: id}, nil
}

// reads is how a principal of a grant reads now: with the id of one who is gone, and the
// ARN that it has by now.
func (s *Service) reads(ctx context.Context, p grantPrincipal) (string, error) {
	if p.ID == p.ARN || s.principals == nil {
		return p.ARN, nil
	}
	arn, err := s.principals.ARNOf(ctx, p.ID)
	if errors.Is(err, directory.ErrNotFound) {
		return p.ID, nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", p.ID, err)
	}
	return arn, nil
}

func newGrantID() (id string, secret []byte) {
	var bytes [64]byte
	rand.Read(bytes[:])
	return hex.EncodeToString(bytes[:32]), bytes[32:]
}
