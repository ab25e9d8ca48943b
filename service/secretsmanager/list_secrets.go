package secretsmanager

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// ListSecrets lists the secrets of the caller's account and Region that pass every
// filter. A page may be short, or empty, and yet not the last.
func (s *Service) ListSecrets(ctx context.Context, in *secretsmanager.ListSecretsInput) (*secretsmanager.ListSecretsOutput, error) {
	if err := s.authorize(ctx, "secretsmanager:ListSecrets"); err != nil {
		return nil, err
	}
	l := listing{
		filters: in.Filters, deleted: aws.ToBool(in.IncludePlannedDeletion),
		by: in.SortBy, descending: in.SortOrder == types.SortOrderTypeDesc,
		limit: 100, token: in.NextToken,
	}
	if in.MaxResults != nil {
		l.limit = int(*in.MaxResults)
	}
	found, next, err := s.list(ctx, l)
	if err != nil {
		return nil, err
	}
	out := &secretsmanager.ListSecretsOutput{SecretList: []types.SecretListEntry{}, NextToken: next}
	for _, x := range found {
		out.SecretList = append(out.SecretList, s.entry(x))
	}
	return out, nil
}

// listing is a question to list.
type listing struct {
	filters    []types.Filter
	deleted    bool // also those scheduled for deletion
	by         types.SortByType
	descending bool
	limit      int
	token      *string
}

// scanLimit bounds the work of one page: how many secrets it may look at for those that
// pass the filters.
const scanLimit = 5000

// list returns one page. In ascending order of creation (the usual one) or of name it
// reads no more of the store than the page needs; other orders read all secrets.
func (s *Service) list(ctx context.Context, l listing) ([]*secret, *string, error) {
	purpose := l.purpose()
	var after position
	if l.token != nil {
		var err error
		if after, err = decodeToken(*l.token, "list", purpose); err != nil {
			return nil, nil, err
		}
	}
	request := caller.From(ctx)
	account, region := request.Principal.Account, request.Region
	filters, err := compileFilters(l.filters)
	if err != nil {
		return nil, nil, err
	}

	var found []*secret
	var next *position
	err = s.store.View(ctx, func(tx store.Tx) error {
		found, next = nil, nil
		if l.descending || l.by == types.SortByTypeLastAccessedDate || l.by == types.SortByTypeLastChangedDate {
			return s.listSorted(tx, l, filters, account, region, after, &found, &next)
		}
		seen := 0
		for x, err := range s.inOrder(tx, l, account, region, after) {
			if err != nil {
				return err
			}
			if len(found) == l.limit || seen == scanLimit {
				next = &after
				return nil
			}
			seen++
			if s.listed(x, l, filters) {
				found = append(found, x)
			}
			after = s.position(x, l.by)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("listing secrets: %w", err)
	}
	if next == nil {
		return found, nil, nil
	}
	return found, encodeToken(*next, "list", purpose), nil
}

func (s *Service) listed(x *secret, l listing, filters []filter) bool {
	if x.gone(s.now) || !x.Deletion.IsZero() && !l.deleted {
		return false
	}
	for _, f := range filters {
		if !f.matches(x) {
			return false
		}
	}
	return true
}

// inOrder yields the secrets after a position, in ascending order of creation or name.
func (s *Service) inOrder(tx store.Tx, l listing, account, region string, after position) func(func(*secret, error) bool) {
	names := secretPrefix(account, region)
	if l.by == types.SortByTypeName {
		start := ""
		if after.Name != "" {
			start = names + after.Name
		}
		return func(yield func(*secret, error) bool) {
			for row, err := range s.secrets.Scan(tx, names, start) {
				if !yield(row.Value, err) || err != nil {
					return
				}
			}
		}
	}
	prefix, start := createdPrefix(account, region), ""
	if after.Name != "" {
		start = prefix + fmt.Sprintf("%020d/", after.Key) + after.Name
	}
	return func(yield func(*secret, error) bool) {
		for entry, err := range tx.Scan(prefix, start) {
			var x *secret
			if err == nil {
				_, name, _ := strings.Cut(strings.TrimPrefix(entry.Key, prefix), "/")
				x, err = s.secrets.Get(tx, names+name)
			}
			if errors.Is(err, store.ErrNotFound) {
				err = fmt.Errorf("secretsmanager: %q leads to no secret", entry.Key)
			}
			if !yield(x, err) || err != nil {
				return
			}
		}
	}
}

func (s *Service) listSorted(tx store.Tx, l listing, filters []filter, account, region string, after position, found *[]*secret, next **position) error {
	order := func(a, b position) int {
		c := cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Name, b.Name))
		if l.descending {
			return -c
		}
		return c
	}
	type placed struct {
		secret *secret
		at     position
	}
	var all []placed
	for row, err := range s.secrets.Scan(tx, secretPrefix(account, region), "") {
		if err != nil {
			return err
		}
		at := s.position(row.Value, l.by)
		if (l.token == nil || order(at, after) > 0) && s.listed(row.Value, l, filters) {
			all = append(all, placed{row.Value, at})
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return order(a.at, b.at) })
	if len(all) > l.limit {
		all = all[:l.limit]
		*next = &all[l.limit-1].at
	}
	for _, p := range all {
		*found = append(*found, p.secret)
	}
	return nil
}

// position is where a secret stands in an order.
type position struct {
	Key  int64  `json:"k,omitempty"`
	Name string `json:"n"`
}

func (s *Service) position(x *secret, by types.SortByType) position {
	at := x.Created
	switch by {
	case types.SortByTypeName:
		return position{Name: x.Name}
	case types.SortByTypeLastChangedDate:
		at = x.Changed
	case types.SortByTypeLastAccessedDate:
		at = time.UnixMicro(0)
		if read := s.accessed(x, "", x.Accessed); read != nil {
			at = *read
		}
	}
	return position{Key: at.UnixMicro(), Name: x.Name}
}

// purpose is what a token of this listing continues: another listing refuses it.
func (l listing) purpose() string {
	text, err := json.Marshal(struct {
		F []types.Filter
		D bool
		B types.SortByType
		O bool
	}{l.filters, l.deleted, l.by, l.descending})
	if err != nil {
		panic(err) // strings and flags alone
	}
	return string(text)
}

// A token says where a page begins and in which listing. It grants nothing and is not
// authenticated: one that was made up begins a page elsewhere.
type token struct {
	Kind string   `json:"t"`
	Of   string   `json:"o"`
	At   position `json:"p"`
}

func digest(purpose string) string {
	sum := sha256.Sum256([]byte(purpose))
	return hex.EncodeToString(sum[:8])
}

func encodeToken(at position, kind, purpose string) *string {
	text, err := json.Marshal(token{kind, digest(purpose), at})
	if err != nil {
		panic(err) // strings and a number alone
	}
	return aws.String(base64.RawURLEncoding.EncodeToString(text))
}

func decodeToken(text, kind, purpose string) (position, error) {
	var t token
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &t) != nil || t.Kind != kind || t.Of != digest(purpose) || t.At.Name == "" || t.At.Key < 0 {
		return position{}, invalidNextToken()
	}
	return t.At, nil
}
