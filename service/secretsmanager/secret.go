package secretsmanager

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/attached"
)

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
	pending  = "AWSPENDING"

	maxLabels   = 20  // of all versions
	maxVersions = 100 // beyond them, unlabelled ones go once they are a day old
	hardLimit   = 200 // beyond them, unlabelled ones go at once
)

// secret is a stored secret without its values. One that comes from the store is shared
// between requests and must not be changed: change works on a copy.
//
// Invariants: a staging label is on at most one version; once AWSCURRENT is on a version,
// it is always on one; Versions is in order of creation; Deletion is set exactly while the
// secret is scheduled for deletion; a replica has no replicas, and its primary one entry
// for it.
type secret struct {
	Name        string
	Suffix      string // the random end of the ARN, for life
	Account     string
	Region      string
	Description string `json:",omitempty"`
	KmsKeyID    string `json:",omitempty"` // as it was given; "" for alias/aws/secretsmanager
	Created     time.Time
	Changed     time.Time
	Accessed    time.Time       `json:",omitzero"` // a day
	Deletion    time.Time       `json:",omitzero"` // when it may be deleted
	Tags        []tag           `json:",omitempty"`
	Tagged      bool            `json:",omitempty"` // whether it ever had tags
	Policy      attached.Policy `json:",omitzero"`
	Versions    []version       `json:",omitempty"`
	Primary     string          `json:",omitempty"` // of a replica: the Region of its primary secret
	Replicas    []replica       `json:",omitempty"` // of a primary secret
	Lagging     bool            `json:",omitempty"` // whether there is an entry at lagPath
	Rotation    *rotating       `json:",omitempty"` // nil until it was configured once

	arn    string
	tags   map[string]string
	values string // with which the paths of its values begin
	made   *made

	followers map[string]follower // by Region; for share, in the transaction that stores the secret
}

type tag struct{ Key, Value string }

// version is one version of a secret. Its value is elsewhere, see value.
type version struct {
	ID       string
	Created  time.Time
	Stages   []string  `json:",omitempty"` // sorted
	Key      string    `json:",omitempty"` // ARN of the KMS key; "" while there is no value
	Managed  bool      `json:",omitempty"` // Key is that of alias/aws/secretsmanager
	Accessed time.Time `json:",omitzero"`  // a day
}

// Prepare makes what requests need of a record, once per record.
func (x *secret) Prepare() {
	x.arn = "arn:aws:secretsmanager:" + x.Region + ":" + x.Account + ":secret:" + x.Name + "-" + x.Suffix
	x.tags = nil
	if len(x.Tags) > 0 {
		x.tags = make(map[string]string, len(x.Tags))
		for _, t := range x.Tags {
			x.tags[t.Key] = t.Value
		}
	}
	x.values = root + x.Account + "/" + x.Region + "/value/" + url.PathEscape(x.Name+"-"+x.Suffix) + "/"
	x.made = &made{arn: x.arn, attached: x.Policy, primary: cmp.Or(x.Primary, x.Region), function: x.function()}
}

// made is what this process has beside a record: what the secret says for decisions on it,
// ready once it was asked for, and what was noted of its reads.
type made struct {
	arn, primary, function string
	attached               attached.Policy

	last atomic.Pointer[lastRead]

	once       sync.Once
	policy     *policy.Source // nil for none
	err        error
	conditions map[string][]string // not to be changed
}

var errUnready = errors.New("secretsmanager: the policy of the secret could not be read")

// ready completes m.
func (m *made) ready() error {
	m.once.Do(func() {
		m.err = errUnready // stays if what follows panics: without its policy, a secret would have no Deny
		m.conditions = map[string][]string{"secretsmanager:SecretId": {m.arn}, "secretsmanager:SecretPrimaryRegion": {m.primary}}
		if m.function != "" {
			m.conditions["secretsmanager:resource/AllowRotationLambdaArn"] = []string{m.function}
		}
		if m.attached.Text != "" {
			document, err := m.attached.Compile(policy.Resource)
			if err != nil {
				m.err = fmt.Errorf("policy of %s: %w", m.arn, err)
				return
			}
			m.policy = &policy.Source{Document: document, Name: "the resource policy of " + m.arn}
		}
		m.err = nil
	})
	return m.err
}

// lastRead is what the version of a secret takes to be read that was read last: mostly it
// is the next one too.
type lastRead struct {
	id      string
	path    string
	context map[string]string // of encryption; not to be changed
	day     atomic.Int64      // that noteRead noted, in days since 1970; 0 for none
}

func (x *secret) lastRead(versionID string) *lastRead {
	if last := x.made.last.Load(); last != nil && last.id == versionID {
		return last
	}
	last := &lastRead{id: versionID, path: x.valuePath(versionID), context: x.encryptionContext(versionID)}
	x.made.last.Store(last)
	return last
}

// clone returns a copy to change.
func (x *secret) clone() *secret {
	c := *x
	c.Tags, c.Versions, c.Replicas = slices.Clone(x.Tags), slices.Clone(x.Versions), slices.Clone(x.Replicas)
	for i := range c.Versions {
		c.Versions[i].Stages = slices.Clone(c.Versions[i].Stages)
	}
	if x.Rotation != nil {
		r := *x.Rotation
		c.Rotation = &r
	}
	return &c
}

// gone reports whether the recovery window of a deletion is over.
func (x *secret) gone(now func() time.Time) bool {
	return !x.Deletion.IsZero() && !x.Deletion.After(now())
}

// active is the rule of operations that a secret scheduled for deletion refuses.
func (x *secret) active() error {
	if !x.Deletion.IsZero() {
		return markedForDeletion()
	}
	return nil
}

// version returns the version called id, or nil.
func (x *secret) version(id string) *version {
	for i := range x.Versions {
		if x.Versions[i].ID == id {
			return &x.Versions[i]
		}
	}
	return nil
}

// holder returns the version that label is on, or nil.
func (x *secret) holder(label string) *version {
	for i := range x.Versions {
		if slices.Contains(x.Versions[i].Stages, label) {
			return &x.Versions[i]
		}
	}
	return nil
}

// attach puts label on the version called id, which there must be, and off any other. A
// current version that is replaced becomes the previous one; no other move touches
// AWSPREVIOUS.
func (x *secret) attach(label, id string) {
	was := x.holder(label)
	if was != nil && was.ID == id {
		return
	}
	x.detach(label)
	to := x.version(id)
	to.Stages = append(to.Stages, label)
	slices.Sort(to.Stages)
	if label == current && was != nil {
		x.attach(previous, was.ID)
	}
}

// detach takes label off whichever version it is on. Only attach may take AWSCURRENT off.
func (x *secret) detach(label string) {
	if v := x.holder(label); v != nil {
		v.Stages = slices.DeleteFunc(v.Stages, func(l string) bool { return l == label })
	}
}

func (x *secret) labels() int {
	n := 0
	for i := range x.Versions {
		n += len(x.Versions[i].Stages)
	}
	return n
}

// prune takes versions without labels off the record, oldest first, while there are too
// many, and returns their ids. AWS keeps all that are not a day old, and refuses more
// when they become too many; here the oldest give way instead.
func (x *secret) prune(now time.Time) []string {
	var pruned []string
	excess := len(x.Versions) - maxVersions
	if excess <= 0 {
		return nil
	}
	hard := len(x.Versions) - hardLimit
	// What is left waits for the next. Each replica does away with as many, and writes two.
	replicas := len(x.Replicas)
	excess = min(excess, max(1, (maxAtOnce-2*replicas)/(1+replicas)))
	x.Versions = slices.DeleteFunc(x.Versions, func(v version) bool {
		n := len(pruned)
		if len(v.Stages) > 0 || n >= excess || n >= hard && now.Sub(v.Created) < 24*time.Hour {
			return false
		}
		pruned = append(pruned, v.ID)
		return true
	})
	return pruned
}

const suffixAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// newSuffix returns the random end of an ARN.
func newSuffix() string { return randomString(suffixAlphabet, suffixSize) }

// randomString draws n characters from alphabet, which has at most 256, uniformly.
func randomString(alphabet string, n int) string {
	text := make([]byte, 0, n)
	limit := 256 - 256%len(alphabet) // bytes from here on would favour the first letters
	buffer := make([]byte, n+n/2+8)
	for {
		rand.Read(buffer)
		for _, b := range buffer {
			if len(text) == n {
				return string(text)
			}
			if int(b) < limit {
				text = append(text, alphabet[int(b)%len(alphabet)])
			}
		}
	}
}

const root = "secretsmanager/"

func secretPrefix(account, region string) string { return secretPath(account, region, "") }
func createdPrefix(account, region string) string {
	return root + account + "/" + region + "/created/"
}

func (x *secret) path() string { return secretPath(x.Account, x.Region, x.Name) }

func secretPath(account, region, name string) string {
	return root + account + "/" + region + "/secret/" + name
}

// createdPath is the entry that lists the secret in order of creation.
func (x *secret) createdPath() string {
	return createdPrefix(x.Account, x.Region) + fmt.Sprintf("%020d/", x.Created.UnixMicro()) + x.Name
}

const duePrefix = root + "due/"

// duePath is the entry that leads deleteDue to the secret. Entries sort by time.
func (x *secret) duePath() string {
	return duePrefix + fmt.Sprintf("%020d/", x.Deletion.UnixMilli()) + x.Account + "/" + x.Region + "/" + x.Name
}

// valuePath is where the value of a version is. Names and version ids may hold slashes;
// escaped, no two secrets share a path.
func (x *secret) valuePath(versionID string) string {
	return x.values + url.PathEscape(versionID)
}
