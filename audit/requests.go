package audit

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// Requests makes one record of each request: the decisions that services take while they
// answer are collected, and recorded together when the outcome is known, before the
// client hears of it. What a service asks of another in the caller's name (KMS, for a
// secret's value) is a record of its own beside it, as on AWS.
type Requests struct {
	log  Log
	file *File // log, when it is one
	now  func() time.Time
}

// NewRequests returns what records requests in log.
func NewRequests(log Log, now func() time.Time) *Requests {
	if now == nil {
		now = time.Now
	}
	file, _ := log.(*File)
	return &Requests{log: log, file: file, now: now}
}

// trail is what is known of a request so far.
type trail struct {
	root    *caller.Request
	reveals bool

	mu    sync.Mutex // guards what follows
	ended bool
	taken []taken  // in order
	room  [2]taken // where most have room
}

// taken is a decision that was.
type taken struct {
	request            *caller.Request
	principal          *caller.Principal
	decision           policy.Decision
	resource, account  string
	undecided          bool
	at                 time.Time
	errorCode, message string
	context            map[string]string // of encryption
}

type trailKey struct{}

// Begin is called before a request is answered: reveals says that the answer holds
// secrets. Its error says that the log cannot be written and the request must be refused.
// The context collects what is decided until End.
func (q *Requests) Begin(ctx context.Context, reveals bool) (context.Context, error) {
	if q.file != nil {
		if err := q.file.ready(ctx, reveals); err != nil {
			return ctx, err
		}
	}
	t := &trail{root: caller.From(ctx), reveals: reveals}
	t.taken = t.room[:0]
	return context.WithValue(ctx, trailKey{}, t), nil
}

// End records the request with its outcome: code "" for one that was done. It is called
// once, when all has happened but the answer. Its error says that the answer must not
// go out, which it says only of answers that hold secrets: what is done cannot be refused.
func (q *Requests) End(ctx context.Context, code, message string, parameters, response []byte) error {
	t, _ := ctx.Value(trailKey{}).(*trail)
	if t == nil {
		return nil
	}
	t.mu.Lock()
	ended := t.ended
	t.ended = true // from now on, decisions are recorded as they are taken
	// Who has no credentials and was turned away before there was anything to decide leaves
	// nothing: whoever reaches the port could fill the disk.
	nobody := t.root.Principal.Type == caller.Anonymous && len(t.taken) == 0
	t.mu.Unlock()
	if ended || nobody {
		return nil
	}
	now := q.now()
	if q.file != nil {
		return q.file.commit(t.reveals, func(to []Record, withheld bool) []Record {
			if withheld && code == "" {
				return t.records(to, now, "InternalFailure", "The answer was withheld: the audit could not be written.", parameters, response)
			}
			return t.records(to, now, code, message, parameters, response)
		})
	}
	for _, r := range t.records(nil, now, code, message, parameters, response) {
		if err := q.log.Record(ctx, r); err != nil && t.reveals {
			return err
		}
	}
	return nil
}

// records appends what a trail that has ended comes to: the request's own record, with its
// own decisions put together, and those of other calls behind it. What a failed request
// says of its decision is the first denial.
func (t *trail) records(to []Record, now time.Time, code, message string, parameters, response []byte) []Record {
	own, matters := 0, -1
	who := t.asker()
	for i := range t.taken {
		if d := &t.taken[i]; t.owns(d, who) {
			own++
			if matters < 0 || code != "" && t.taken[matters].decision.Allowed && !d.decision.Allowed {
				matters = i
			}
		}
	}
	r := t.root
	to = append(to, Record{
		Time: now, Undecided: true, Service: r.Service, Name: r.Operation, Operation: r.Operation, Region: r.Region, SourceIP: r.SourceIP, UserAgent: r.UserAgent,
		RequestID: r.ID, Via: r.Via, Principal: who, Account: who.Account, ErrorCode: code, ErrorMessage: message, Parameters: parameters, Response: response,
	})
	first := &to[len(to)-1]
	if code == "" {
		first.ErrorMessage = ""
	}
	if matters >= 0 {
		d := &t.taken[matters]
		first.Undecided, first.Decision, first.Resource, first.Account = d.undecided, d.decision, d.resource, d.account
		first.Region = d.request.Region // a bucket's, which may be another
		if code == "AccessDeniedException" && d.errorCode != "" {
			first.ErrorMessage = d.message // in the words of the decision
		}
	}
	if code == "AccessDeniedException" {
		first.ErrorCode = "AccessDenied" // CloudTrail's word, also where another service denied
	}
	if own > 1 {
		first.Decisions = make([]Decision, 0, own)
		for i := range t.taken {
			if d := &t.taken[i]; t.owns(d, who) {
				first.Decisions = append(first.Decisions, Decision{d.decision, d.resource, d.account})
			}
		}
	}
	for i := range t.taken { // which moves the first
		if d := &t.taken[i]; !t.owns(d, who) {
			service, name, _ := strings.Cut(d.decision.Action, ":")
			to = append(to, Record{
				Time: d.at, Service: service, Name: name, Operation: d.request.Operation, Region: d.request.Region, SourceIP: d.request.SourceIP, UserAgent: d.request.UserAgent,
				RequestID: d.request.ID, Via: d.request.Via, Principal: d.principal, Resource: d.resource, Account: d.account, Decision: d.decision, Undecided: d.undecided,
				ErrorCode: d.errorCode, ErrorMessage: d.message, EncryptionContext: d.context,
			})
		}
	}
	return to
}

// asker is who asks: of a request that nobody signed, who its token says.
func (t *trail) asker() *caller.Principal {
	if t.root.Principal.Type == caller.Anonymous && len(t.taken) > 0 && len(t.taken[0].request.Via) <= len(t.root.Via) {
		return t.taken[0].principal
	}
	return t.root.Principal
}

// owns reports whether a decision was the request's own: for who asks, and not for what
// one service asked of another.
func (t *trail) owns(d *taken, who *caller.Principal) bool {
	return len(d.request.Via) <= len(t.root.Via) && d.principal == who
}

// Note records a decision that was taken for request: with the request's own record when
// ctx is of one that has not ended, else at once.
func Note(ctx context.Context, log Log, request *caller.Request, r *Record) error {
	if t, _ := ctx.Value(trailKey{}).(*trail); t != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.ended {
			t.taken = append(t.taken, taken{request, r.Principal, r.Decision, r.Resource, r.Account, r.Undecided, r.Time, r.ErrorCode, r.ErrorMessage, r.EncryptionContext})
			return nil
		}
	}
	return log.Record(ctx, *r)
}

// Failed says that what the request in ctx, a forwarded one, was allowed to do failed.
func Failed(ctx context.Context, code, message string) {
	t, _ := ctx.Value(trailKey{}).(*trail)
	if t == nil {
		return
	}
	request := caller.From(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.taken) - 1; i >= 0 && !t.ended; i-- {
		if d := &t.taken[i]; d.request == request && !t.owns(d, t.asker()) {
			if d.errorCode == "" {
				d.errorCode, d.message = code, message
			}
			return
		}
	}
}

// weight is how much of the queue a record takes: it is counted in plain ones.
func (r *Record) weight() int {
	return 1 + len(r.Decisions)/4 + (len(r.Parameters)+len(r.Response))/1024
}
