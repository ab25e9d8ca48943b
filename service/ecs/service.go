// Package ecs is the control plane of Amazon ECS: it keeps clusters, task definitions,
// container instances and tasks, decides where a task runs, and says so to the engine
// there over the stream of package acs. Services it keeps as they should be: Schedule.
//
// It never touches a container, and never keeps a role's credentials: they are made
// anew for each stream. What a valid task definition is, taskdef says.
package ecs

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/store"
)

// Roles makes credentials of tasks' roles. *sts.Service does; it is called as the
// service ecs-tasks.amazonaws.com.
type Roles interface {
	AssumeRole(context.Context, *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error)
}

// Keys looks at KMS keys as the caller, and makes keys under them as the service
// fargate.amazonaws.com. *kms.Service does.
type Keys interface {
	DescribeKey(context.Context, *kms.DescribeKeyInput) (*kms.DescribeKeyOutput, error)
	GenerateDataKeyWithoutPlaintext(context.Context, *kms.GenerateDataKeyWithoutPlaintextInput) (*kms.GenerateDataKeyWithoutPlaintextOutput, error)
	CreateGrant(context.Context, *kms.CreateGrantInput) (*kms.CreateGrantOutput, error)
	Decrypt(context.Context, *kms.DecryptInput) (*kms.DecryptOutput, error)
	RetireGrant(context.Context, *kms.RetireGrantInput) (*kms.RetireGrantOutput, error)
}

// Authorizer decides whether the caller may; *authz.Authorizer does.
type Authorizer interface {
	Authorize(ctx context.Context, access *authz.Access) error
}

// Versions knows which version of a secret or parameter is the current one.
type Versions interface {
	// Current is the version of arn that the selector leads to now: a staging label of a
	// secret; a parameter's label, or "" for its latest version. It is "" when there is none.
	Current(ctx context.Context, arn, selector string) (version string, err error)
	// MayRead tells whether a task may read the version of another account's secret or
	// parameter that the selector leads to.
	MayRead(ctx context.Context, who Reader, arn, selector string) (bool, error)
	// Changes sends a nudge after versions may have changed, as store.Store's Watch does.
	Changes(ctx context.Context) <-chan struct{}
}

// Reader is a session of a task's execution role, and from where its engine asks.
type Reader struct {
	Role, Session string
	SourceIP      netip.Addr
}

// Config is what a Service is made of. Store, Authz, Roles and Keys are required.
type Config struct {
	Store store.Store
	Authz Authorizer
	Roles Roles
	Keys  Keys
	// Versions tells which tasks hold what is no longer current; nil: none do.
	Versions Versions
	Now      func() time.Time // nil means time.Now
	Log      *slog.Logger     // nil means that nothing is logged

	// Endpoint is the URL that DiscoverPollEndpoint names. Empty means the one that
	// an agent asked: it gets no answer and stays there, whatever proxies are on the way.
	// Others are told the URL by which they came.
	Endpoint string
}

// Service answers the operations of ECS. Each exported method is one.
type Service struct {
	store    store.Store
	authz    Authorizer
	roles    Roles
	keys     Keys
	current  Versions
	now      func() time.Time
	log      *slog.Logger
	endpoint string

	heartbeat time.Duration // of streams; shorter in tests

	clusters    *store.Table[cluster]
	families    *store.Table[family]
	definitions *store.Table[definition]
	instances   *store.Table[instance]
	seen        *store.Table[seen]
	tasks       *store.Table[task]
	placements  *store.Table[placement]
	tokens      *store.Table[token]

	services           *store.Table[service]
	revisions          *store.Table[revision]
	serviceDeployments *store.Table[serviceDeployment]
	members            *store.Table[member]
	eventsOf           *store.Table[events]
	wakes              *store.Table[wake]
	accountSettings    *store.Table[accountSetting]
	followers          *store.Table[follower]
	executions         *store.Table[execution]

	sessions sessions
}

// New returns a service over what c names.
func New(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{
		store: c.Store, authz: c.Authz, roles: c.Roles, keys: c.Keys, current: c.Versions, now: c.Now, log: c.Log, endpoint: c.Endpoint, heartbeat: heartbeat,
		clusters:    store.NewTable[cluster]("cluster"),
		families:    store.NewTable[family]("task definition family"),
		definitions: store.NewTable[definition]("task definition"),
		instances:   store.NewTable[instance]("container instance"),
		seen:        store.NewTable[seen]("container instance's last sign"),
		tasks:       store.NewTable[task]("task"),
		placements:  store.NewTable[placement]("placement"),
		tokens:      store.NewTable[token]("client token"),

		services:           store.NewTable[service]("service"),
		revisions:          store.NewTable[revision]("service revision"),
		serviceDeployments: store.NewTable[serviceDeployment]("service deployment"),
		members:            store.NewTable[member]("service's task"),
		eventsOf:           store.NewTable[events]("service's events"),
		wakes:              store.NewTable[wake]("service's wake"),
		accountSettings:    store.NewTable[accountSetting]("account setting"),
		followers:          store.NewTable[follower]("service that follows its secrets"),
		executions:         store.NewTable[execution]("session"),
	}
}

// copyOf is a deep copy of a record, which a Table shares, to be changed.
func copyOf[T any](v *T) *T {
	text, err := json.Marshal(v)
	if err != nil {
		panic("ecs: a record that was stored cannot be encoded: " + err.Error())
	}
	c := new(T)
	if err := json.Unmarshal(text, c); err != nil {
		panic("ecs: a record that was stored cannot be decoded: " + err.Error())
	}
	return c
}
