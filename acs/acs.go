// Package acs is what passes between the ECS control plane and an engine: the part of
// ECS that its public API leaves out and that Amazon's own agent speaks with a service
// called ACS. DiscoverPollEndpoint names the place; where it names none, that is where the
// engine asked.
//
// An engine opens GET {endpoint}/acs?cluster=C&containerInstance=ARN, signed for "ecs",
// and reads Messages, one JSON value a line, until the connection ends. On connecting
// it is told every task that should run there; the same task may come again and means
// nothing new. It answers with the API's own SubmitTaskStateChange and
// SubmitContainerStateChange, and posts
// Health to {endpoint}/acs/health, Secrets to {endpoint}/acs/secrets and Refreshed to
// {endpoint}/acs/refreshes.
package acs

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Message is one line of the stream. Exactly one member is set; none is a heartbeat,
// sent every 15 seconds.
type Message struct {
	Task        *Task        `json:",omitempty"`
	Stop        *Stop        `json:",omitempty"`
	Credentials *Credentials `json:",omitempty"` // fresh ones for a role of a running task
	Execute     *Execute     `json:",omitempty"` // a command to run in a container
	Refresh     *Refresh     `json:",omitempty"` // containers to run again
	Synced      bool         `json:",omitempty"` // every task that should run has been sent
}

// Execute asks for a command in a running container, as root and with the container's
// environment. The engine gets {Endpoint}/acs/sessions/{Session}, which answers with
// ExecuteInputs, one JSON value a line, until the session ends, and posts ExecuteOutputs there.
type Execute struct {
	Session   string
	TaskARN   string
	Container string
	Command   []string
	TTY       bool
	Endpoint  string `json:",omitempty"` // of the control plane that has the client; empty: that of the stream
}

// ExecuteInput is what a client has typed; nothing is a sign of life.
type ExecuteInput struct {
	Data []byte `json:",omitempty"`
	EOF  bool   `json:",omitempty"` // of stdin
	Cols uint   `json:",omitempty"` // of a terminal that has another size now
	Rows uint   `json:",omitempty"`
}

// ExecuteOutput is what a command has written. The last one has Exit or Error.
type ExecuteOutput struct {
	Stdout []byte `json:",omitempty"`
	Stderr []byte `json:",omitempty"` // never with a terminal
	Exit   *int   `json:",omitempty"`
	Error  string `json:",omitempty"` // why it could not be run
}

// Refresh asks for containers of a running task to be run once more, one after the other, with
// the values of their secrets that are current by then: containers that ran to their end before,
// and left files for others. When all have ended with 0, others are sent signals. It comes
// again until the engine has posted what became of it, and means nothing new then.
type Refresh struct {
	ID         string
	TaskARN    string
	Containers []string
	Signals    []Signal `json:",omitempty"`
}

// Signal is for the first process of a container, if it runs.
type Signal struct {
	Container string
	Signal    string // SIGHUP and the like
}

// Refreshed is what became of a Refresh. What the task holds since then was posted before.
type Refreshed struct {
	TaskARN string
	ID      string
	Failure string `json:",omitempty"` // why its files may be those from before; empty: they are not
}

// CanRefresh is the attribute of a container instance whose engine knows Refresh.
const CanRefresh = "malote.capability.refresh"

// Task is a task that should run on the engine's host.
type Task struct {
	ARN        string
	ClusterARN string
	// Definition as registered. Revision and family are in it.
	Definition           types.TaskDefinition
	Overrides            *types.TaskOverride `json:",omitempty"`
	Tags                 []types.Tag         `json:",omitempty"`
	Group                string              `json:",omitempty"`
	StartedBy            string              `json:",omitempty"`
	LaunchType           types.LaunchType    `json:",omitempty"`
	CreatedAt            time.Time
	EnableExecuteCommand bool `json:",omitempty"`
	// Pins are the versions of secrets that its containers are to be given, whatever the
	// current ones are. Of a secret that is not among them it is the current one.
	Pins []Held `json:",omitempty"`

	// Region and Account of the task.
	Region, Account string

	// The roles after overrides; nil when the task has none.
	ExecutionRole *Credentials `json:",omitempty"`
	TaskRole      *Credentials `json:",omitempty"`

	// Volumes are what the launch said of those that are configuredAtLaunch, and
	// InfrastructureRole is who asks for their keys; it is not renewed.
	Volumes            []Volume     `json:",omitempty"`
	InfrastructureRole *Credentials `json:",omitempty"`

	// StorageKMSKeyID is the KMS key of the cluster under which the key of the task's ephemeral
	// storage was made; "": there is none, and the storage's key is made where it is.
	// StorageKey is that key, StorageKeySize bytes, for as long as the storage may have to be
	// made; an engine keeps it nowhere but in the kernel.
	StorageKMSKeyID string `json:",omitempty"`
	StorageKey      []byte `json:",omitempty"`
}

// StorageKeySize is how long the key of a task's storage is: what a disk takes.
const StorageKeySize = 64

// Volume is a disk that lives as long as its task.
type Volume struct {
	Name      string // in the task definition
	ID        string // vol-…
	SizeInGiB int32
	// KMSKeyID is what KMS calls the key that the volume's own is made under; "": it is made
	// under none, and is nowhere but in the kernel.
	KMSKeyID string `json:",omitempty"`
}

// Stop asks to stop a task in the right order.
type Stop struct {
	TaskARN string
	Reason  string
}

// RoleType says which of a task's roles credentials belong to.
type RoleType string

const (
	TaskExecution      RoleType = "TaskExecution"
	TaskApplication    RoleType = "TaskApplication"
	TaskInfrastructure RoleType = "TaskInfrastructure"
)

// Credentials are temporary credentials of one of a task's roles. They are pushed
// again well before they expire.
type Credentials struct {
	TaskARN         string
	RoleType        RoleType
	RoleARN         string
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	Expiration      time.Time
}

// Secrets is which versions of secrets and parameters a task was given. An engine posts it to
// {endpoint}/acs/secrets when it is new: ids alone, no value.
type Secrets struct {
	TaskARN string
	Held    []Held
}

// Held is a version that a container was given.
type Held struct {
	Container string
	Name      string // of the variable, or "log:" and the log driver's option
	ARN       string // of the secret or parameter
	Selector  string `json:",omitempty"` // what was asked for: a secret's staging label, a parameter's label or, "", its latest version
	Version   string // a secret's version id, a parameter's version number
	Fixed     bool   `json:",omitempty"` // the task definition names the version itself
}

// Holdings is what GET {endpoint}/holdings answers, of a cluster's running tasks that were
// given secrets.
type Holdings struct {
	Tasks []TaskHoldings
}

// TaskHoldings is of one task.
type TaskHoldings struct {
	TaskARN string
	Group   string
	Secrets []Holding
}

// Holding is a version that a container holds, beside the one that it would be given today.
type Holding struct {
	Held
	Current string // "": there is none any more
	Stale   bool
}

// Health is what containers' health checks say now.
type Health struct {
	TaskARN    string
	Containers map[string]types.HealthStatus // by container name
}
