package ssm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

const maxVersions = 100

// parameter is a stored record. Versions from Oldest to that of Current exist; Current is
// here and the others have records of their own, so that reading the latest takes one.
type parameter struct {
	Name    string // as it was created, with its first slash or without
	Current version
	Oldest  int64
	Labels  map[string]int64  `json:",omitempty"` // which version each is on
	Tags    map[string]string `json:",omitempty"`
}

// version is what one PutParameter made.
type version struct {
	Number         int64
	Type           types.ParameterType
	Value          string // of a SecureString, encrypted: as it is returned without decryption
	KeyID          string `json:",omitempty"` // of a SecureString, as it was given
	Tier           types.ParameterTier
	DataType       string
	Description    string         `json:",omitempty"`
	AllowedPattern string         `json:",omitempty"`
	Policies       []inlinePolicy `json:",omitempty"`
	Modified       time.Time
	ModifiedBy     string // ARN
}

func prefix(account, region string) string {
	return "ssm/" + account + "/" + region + "/parameter/"
}

func (r *ref) key() string { return prefix(r.account, r.region) + r.id }

// versionsPrefix ends with a character that names do not have.
func (r *ref) versionsPrefix() string {
	return "ssm/" + r.account + "/" + r.region + "/version/" + r.id + ":"
}

func (r *ref) versionKey(number int64) string {
	return fmt.Sprintf("%s%019d", r.versionsPrefix(), number)
}

// labels returns those of a version, in order.
func (p *parameter) labels(number int64) []string {
	var labels []string
	for label, on := range p.Labels {
		if on == number {
			labels = append(labels, label)
		}
	}
	slices.Sort(labels)
	return labels
}

// selected is a parameter with the version that a request asks for.
type selected struct {
	*parameter
	version *version
}

// read returns what r refers to, within tx: store.ErrNotFound when there is no parameter,
// ParameterVersionNotFound when it has not the version.
func (s *Service) read(tx store.Tx, r *ref) (*selected, error) {
	if r.err != nil {
		return nil, store.ErrNotFound
	}
	p, err := s.parameters.Get(tx, r.key())
	if err != nil {
		return nil, err
	}
	if r.selector == "" {
		return &selected{p, &p.Current}, nil
	}
	number, err := strconv.ParseInt(r.selector, 10, 64)
	if err != nil {
		on, labelled := p.Labels[r.selector]
		if !labelled {
			return &selected{parameter: p}, labelNotFound(r.selector, p.Name)
		}
		number = on
	}
	v, err := s.readVersion(tx, r, p, number)
	return &selected{p, v}, err
}

func (s *Service) readVersion(tx store.Tx, r *ref, p *parameter, number int64) (*version, error) {
	switch {
	case number == p.Current.Number:
		return &p.Current, nil
	case number < p.Oldest || number > p.Current.Number:
		return nil, versionNotFound(number, p.Name)
	}
	return s.versions.Get(tx, r.versionKey(number))
}

// authorized reads what r refers to and asks whether the caller may do action with it.
// Those who may not learn nothing of whether it, or its version, exists.
func (s *Service) authorized(ctx context.Context, action string, r *ref) (*selected, error) {
	var found *selected
	err := s.store.View(ctx, func(tx store.Tx) (err error) {
		found, err = s.read(tx, r)
		return err
	})
	access := &authz.Access{Action: action, Resource: r.arn(), Account: r.account}
	if found != nil {
		access.Tags = found.Tags
	}
	if denied := s.authz.Authorize(ctx, access); denied != nil {
		return nil, denied
	}
	switch {
	case r.err != nil:
		return nil, r.err
	case errors.Is(err, store.ErrNotFound):
		return nil, notFound()
	case err != nil:
		return nil, err
	}
	return found, nil
}

// change lets fn make another parameter of the one that r refers to. fn gets a copy of it,
// whose labels and tags it may change. The caller was allowed to when it had the tags of
// was; when it has others by now, the caller is to ask again.
func (s *Service) change(ctx context.Context, r *ref, was *parameter, fn func(p *parameter) error) error {
	return s.store.Update(ctx, func(tx store.Tx) error {
		p, err := s.parameters.Get(tx, r.key())
		if errors.Is(err, store.ErrNotFound) {
			return notFound() // deleted since it was authorized
		}
		if err != nil {
			return err
		}
		if !maps.Equal(p.Tags, was.Tags) {
			return tooManyUpdates()
		}
		changed := *p
		changed.Labels, changed.Tags = maps.Clone(p.Labels), maps.Clone(p.Tags)
		if err := fn(&changed); err != nil {
			return err
		}
		return s.parameters.Put(tx, r.key(), &changed)
	})
}

// answer is x as GetParameter and its like return it, with the value as it is stored.
func (r *ref) answer(x *selected) *types.Parameter {
	name := r.shown
	if name == "" {
		name = x.Name
	}
	p := &types.Parameter{
		ARN:              aws.String(r.arn()),
		Name:             &name,
		Type:             x.version.Type,
		Value:            &x.version.Value,
		Version:          x.version.Number,
		DataType:         &x.version.DataType,
		LastModifiedDate: &x.version.Modified,
	}
	if r.selector != "" {
		p.Selector = aws.String(":" + r.selector)
	}
	return p
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
