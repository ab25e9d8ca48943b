package directory

import (
	"fmt"

	"github.com/malote/malote/internal/recent"
	"github.com/malote/malote/policy"
)

// documents remembers parsed policies by their text.
type documents struct {
	byKind [policy.Trust + 1]*recent.Cache[*policy.Document]
}

func newDocuments() documents {
	var d documents
	for kind := range d.byKind {
		d.byKind[kind] = recent.New[*policy.Document](4096, 16<<20)
	}
	return d
}

func (d *documents) parse(kind policy.Kind, text string) (*policy.Document, error) {
	if doc, ok := d.byKind[kind].Get(text); ok {
		return doc, nil
	}
	doc, err := policy.Parse(kind, []byte(text))
	if err != nil {
		return nil, fmt.Errorf("compiling a stored policy: %w", err)
	}
	d.byKind[kind].Put(text, doc, 5*len(text))
	return doc, nil
}
