package directory

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/malote/malote/store"
)

// managed.json holds the AWS managed policies that users of what malote does attach, as
// AWS publishes them (the AWS Managed Policy Reference Guide), one a line.
//
//go:embed managed.json
var managedJSON []byte

// AWS is the account part of an AWS managed policy's ARN.
const AWS = "aws"

// awsManaged decodes managed.json when it is first needed.
var awsManaged = sync.OnceValue(func() (m struct {
	byARN map[string]*Policy
	all   []*Policy // by name
}) {
	var list []struct {
		Name, Path, Version, Description string
		Created, Updated                 time.Time
		Document                         json.RawMessage
	}
	if err := json.Unmarshal(managedJSON, &list); err != nil {
		panic(fmt.Sprintf("directory: managed.json: %v", err))
	}
	m.byARN = make(map[string]*Policy, len(list))
	for _, e := range list {
		p := &Policy{
			Account:     AWS,
			Path:        e.Path,
			Name:        e.Name,
			Description: e.Description,
			Created:     e.Created,
			Updated:     e.Updated,
			Default:     e.Version,
			Versions:    []Version{{ID: e.Version, Document: string(e.Document), Created: e.Updated}},
		}
		hash := sha256.Sum256([]byte(p.ARN()))
		p.ID = "ANPA" + base32.StdEncoding.EncodeToString(hash[:])[:17] // the same on every machine
		m.byARN[p.ARN()] = p
		m.all = append(m.all, p)
	}
	return m
})

// AWSPolicies yields the AWS managed policies by name, those after a name. They are
// shared: do not change them.
func AWSPolicies(after string) iter.Seq[*Policy] {
	return func(yield func(*Policy) bool) {
		for _, p := range awsManaged().all {
			if p.Name > after && !yield(p) {
				return
			}
		}
	}
}

// Managed finds a managed policy by its ARN, AWS's (shared, not to be changed) or a
// customer's, or is store.ErrNotFound.
func (t *Tx) Managed(arn string) (*Policy, error) {
	account, kind, _, name, ok := ParseARN(arn)
	if !ok || kind != "policy" {
		return nil, store.ErrNotFound
	}
	if account == AWS {
		if p := awsManaged().byARN[arn]; p != nil {
			return p, nil
		}
		return nil, store.ErrNotFound
	}
	p, err := t.Policy(account, name)
	if err != nil {
		return nil, err
	}
	if p.ARN() != arn {
		return nil, store.ErrNotFound
	}
	return p, nil
}
