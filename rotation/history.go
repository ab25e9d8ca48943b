package rotation

import "time"

// History is what became of the rotations of a secret, as GET /rotations?SecretId=… of a
// control plane answers it. There is no value in it.
type History struct {
	ARN, Name string
	Enabled   bool
	Function  string    `json:",omitempty"` // ARN
	Next      time.Time `json:",omitzero"`  // NextRotationDate
	Runs      []Run     // oldest first, the last twenty
}

// Run is one rotation with all its attempts.
type Run struct {
	VersionID string // the version to be
	Function  string
	Kind      string // RotateSecret, Scheduled, or Test: testSecret alone
	Started   time.Time
	Ended     time.Time `json:",omitzero"`
	Outcome   string    // InProgress, Waiting, Succeeded, Failed or Cancelled
	Reason    string    `json:",omitempty"`
	Again     time.Time `json:",omitzero"` // when one that is Waiting, for its next attempt or for tasks, is looked at
	Steps     []Step
}

// Step is one call of the function.
type Step struct {
	Step    string
	Attempt int // from 1
	Started time.Time
	Ended   time.Time `json:",omitzero"`
	Outcome string    // InProgress, Succeeded, Failed or Interrupted
	Reason  string    `json:",omitempty"`
}
