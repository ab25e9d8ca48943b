// Package audit keeps who asked for what and what was answered, denials included.
//
// It promises: a record, once in the file, cannot be changed, dropped or moved without
// Verify noticing, for each has the hash of the one before and checkpoints are signed; and
// no record has a secret's value, for a Record has no place for one but what its maker
// vouches for.
//
// It does not decide (see policy), and what of a request may be shown, it is told (see
// gateway/shown). The records have the shape of CloudTrail's, so what reads those reads
// these; the format is in file.go.
package audit

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// Record is one request, or what one service asked of another to answer it, or one
// decision of what nobody requested. What it points to must not change any more.
type Record struct {
	Time      time.Time
	Event     bool   // what a service did of its own accord: there was no decision
	Service   string // "secretsmanager"
	Name      string // of a request its operation, else the action's: "GetSecretValue"
	Operation string // the request's, which may need several actions
	Region    string
	SourceIP  netip.Addr // zero for a call within malote
	UserAgent string
	RequestID string
	Via       []string // the services that forwarded the call
	Principal *caller.Principal

	Resource string // ARN; "" or "*" for none
	Account  string // the resource's owner

	Undecided bool // there was nothing to decide: it failed before, or needs no permission
	Decision  policy.Decision
	Decisions []Decision // all of them, when there were several; Decision and Resource are then of the one that mattered

	ErrorCode    string // "" when allowed and done
	ErrorMessage string

	// Parameters and Response are JSON objects of what the request said and the answer
	// says, without any value; nil for null.
	Parameters []byte
	Response   []byte
	// EncryptionContext of a call to KMS. It is written where there are no Parameters.
	EncryptionContext map[string]string

	// Details say more of an Event, as a JSON object; nil for nothing more. It must have
	// no secret's value. The record then has no decision, for there was none to take.
	Details []byte
}

// Decision is one of several that a request needed.
type Decision struct {
	policy.Decision
	Resource, Account string
}

// Log takes records. Record returns nil once the log answers for the record; an access
// whose record is refused must be refused too.
type Log interface {
	Record(ctx context.Context, r Record) error
}

// Memory is a Log for tests. The zero value is ready.
type Memory struct {
	mu      sync.Mutex // guards records
	records []Record
}

// Record keeps r.
func (m *Memory) Record(_ context.Context, r Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, r)
	return nil
}

// Records returns what was recorded so far, in order.
func (m *Memory) Records() []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Record(nil), m.records...)
}
