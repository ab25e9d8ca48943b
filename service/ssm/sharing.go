package ssm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// resourcePolicy is one of those by which a parameter is shared. All of them count.
type resourcePolicy struct {
	ID     string
	Policy attached.Policy
}

// hash identifies this version of the policy.
func (x *resourcePolicy) hash() string {
	sum := sha256.Sum256([]byte(x.Policy.Text))
	return hex.EncodeToString(sum[:])
}

func newPolicyID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562, version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Prepare has the policies compiled once, when first somebody asks.
func (p *parameter) Prepare() {
	if len(p.ResourcePolicies) == 0 {
		return
	}
	attached, name := p.ResourcePolicies, p.Name
	p.compiled = sync.OnceValues(func() (*policy.Source, error) {
		all := &policy.Document{}
		for i := range attached {
			document, err := attached[i].Policy.Compile(policy.Resource)
			if err != nil {
				return nil, fmt.Errorf("resource policy %s of parameter %s: %w", attached[i].ID, name, err)
			}
			all.Statements = append(all.Statements, document.Statements...)
		}
		return &policy.Source{Document: all, Name: "the resource policies of parameter " + name}, nil
	})
}

// policy returns what the parameter's own policies say, together; nil when it has none.
func (p *parameter) policy() (*policy.Source, error) {
	if p == nil || p.compiled == nil {
		return nil, nil
	}
	return p.compiled()
}

// sameRights reports whether p gives everybody the rights that q gives.
func (p *parameter) sameRights(q *parameter) bool {
	return maps.Equal(p.Tags, q.Tags) && slices.EqualFunc(p.ResourcePolicies, q.ResourcePolicies, func(a, b resourcePolicy) bool {
		return a.ID == b.ID && a.Policy.Text == b.Policy.Text && maps.Equal(a.Policy.IDs, b.Policy.IDs)
	})
}

// A shared parameter has an entry besides, which other accounts find it by.
func sharedPrefix(region string) string { return "ssm/shared/" + region + "/" }

func (r *ref) sharedKey() string { return sharedPrefix(r.region) + r.account + "/" + r.id }

// enter keeps the entry of a parameter that becomes was → now.
func (r *ref) enter(tx store.Tx, was, now *parameter) error {
	switch before, after := len(was.ResourcePolicies) > 0, len(now.ResourcePolicies) > 0; {
	case after && !before:
		return tx.Put(r.sharedKey(), nil)
	case before && !after:
		return tx.Delete(r.sharedKey())
	}
	return nil
}

// forget takes the entry of a parameter away that was removed. It is a transaction of its
// own, because removing may be as much as one takes. An entry that stays leads to nothing.
func (s *Service) forget(ctx context.Context, r *ref, removed *parameter) error {
	if len(removed.ResourcePolicies) == 0 {
		return nil
	}
	err := s.store.Update(ctx, func(tx store.Tx) error {
		p, err := s.parameters.Get(tx, r.key())
		switch {
		case err == nil && len(p.ResourcePolicies) > 0: // made and shared again meanwhile
			return nil
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return err
		}
		return tx.Delete(r.sharedKey())
	})
	if err != nil {
		return fmt.Errorf("taking %s off the shared parameters: %w", r.arn(), err)
	}
	return nil
}
