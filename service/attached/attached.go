// Package attached keeps a policy that is attached to a resource: its text as it was
// given, and the ids of the users and roles that it names.
//
// It promises: whoever is deleted and made again under the same name does not come back
// into the rights that a policy gave to the old one; and the text reads as it was given,
// to the byte, for as long as those whom it names are still called so.
package attached

import (
	"context"
	"errors"
	"fmt"

	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/iam/directory"
)

// Principals knows users and roles: *directory.Directory.
type Principals interface {
	// Resolve turns an ARN into an id, and leaves what has none. An error that is
	// directory.ErrNotFound says that there is nobody.
	Resolve(ctx context.Context, principal string) (id string, err error)
	// ARNOf is the inverse.
	ARNOf(ctx context.Context, id string) (arn string, err error)
}

// Policy is a policy as a record keeps it.
type Policy struct {
	Text string            `json:",omitempty"`
	IDs  map[string]string `json:",omitempty"` // ARN as in Text, to id
}

// InvalidPrincipal is the error of a policy that names nobody.
type InvalidPrincipal = directory.InvalidPrincipal

// New checks a text and remembers whom it means. Its error is a *policy.SyntaxError, an
// *InvalidPrincipal, or a failure. Without principals (nil) every ARN is taken as it is.
func New(ctx context.Context, kind policy.Kind, text string, principals Principals) (Policy, *policy.Document, error) {
	p := Policy{Text: text}
	document, err := policy.Parse(kind, []byte(text))
	if err != nil || principals == nil {
		return p, document, err
	}
	for arn := range document.Principals() {
		id, err := principals.Resolve(ctx, arn)
		if errors.Is(err, directory.ErrNotFound) {
			return p, nil, &InvalidPrincipal{Principal: arn}
		}
		if err != nil {
			return p, nil, fmt.Errorf("looking for %s: %w", arn, err)
		}
		if id != arn {
			if p.IDs == nil {
				p.IDs = map[string]string{}
			}
			p.IDs[arn] = id
		}
	}
	if document, err = p.Compile(kind); err != nil {
		return p, nil, err
	}
	return p, document, nil
}

// Compile returns the policy to decide by: that of the ids.
func (p Policy) Compile(kind policy.Kind) (*policy.Document, error) {
	text, err := replace(p.Text, p.IDs)
	if err != nil {
		return nil, err
	}
	return policy.Parse(kind, []byte(text))
}

// Read is how the policy reads now: with the ids of those who are gone, and the ARNs that
// others have since.
func (p Policy) Read(ctx context.Context, principals Principals) (string, error) {
	now := map[string]string{}
	for arn, id := range p.IDs {
		is, err := principals.ARNOf(ctx, id)
		if errors.Is(err, directory.ErrNotFound) {
			is, err = id, nil
		}
		if err != nil {
			return "", fmt.Errorf("looking for %s: %w", id, err)
		}
		if is != arn {
			now[arn] = is
		}
	}
	return replace(p.Text, now)
}

func replace(text string, values map[string]string) (string, error) {
	if len(values) == 0 {
		return text, nil
	}
	replaced, err := policy.Rewrite([]byte(text), func(principal string) (string, error) {
		if value, ok := values[principal]; ok {
			return value, nil
		}
		return principal, nil
	})
	return string(replaced), err
}
