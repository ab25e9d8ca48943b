// Package audit keeps who asked for what and what was answered, denials included.
//
// It promises: a record, once in the file, cannot be changed, dropped or moved without
// Verify noticing, for each has the hash of the one before; and no record has a secret's
// value, for a Record has no place for one.
//
// It does not decide (see policy) and does not know what an operation answered after
// access was granted. The records have the shape of CloudTrail's, so what reads those reads
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

// Record is one access, as it was decided. What it points to must not change any more.
type Record struct {
	Time      time.Time
	Event     bool   // what a service did of its own accord: there was no decision
	Service   string // "secretsmanager"
	Name      string // the action's: "GetSecretValue"
	Operation string // the request's, which may need several actions
	Region    string
	SourceIP  netip.Addr // zero for a call within malote
	UserAgent string
	RequestID string
	Via       []string // the services that forwarded the call
	Principal *caller.Principal

	Resource string // ARN; "" or "*" for none
	Account  string // the resource's owner

	Decision     policy.Decision
	ErrorCode    string // "" when allowed
	ErrorMessage string

	// Details say more of an Event, as a JSON object; nil for nothing more. It must have
	// no secret's value. The record then has no decision, for there was none to take.
	Details []byte
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
