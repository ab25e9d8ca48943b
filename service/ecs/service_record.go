package ecs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/malote/malote/acs"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/store"
)

// service is the record of one service of a cluster. Its tasks are its members.
type service struct {
	Name, Cluster string
	Status        string // ACTIVE, DRAINING, INACTIVE
	Strategy      types.SchedulingStrategy
	Desired       int32 // of a DAEMON: its hosts, when last counted
	Configuration types.DeploymentConfiguration
	Constraints   []types.PlacementConstraint `json:",omitempty"`
	Placement     []types.PlacementStrategy   `json:",omitempty"`
	Propagate     types.PropagateTags
	ManagedTags   bool   `json:",omitempty"`
	Exec          bool   `json:",omitempty"` // enableExecuteCommand of its tasks
	GracePeriod   *int32 `json:",omitempty"`
	Tags          []types.Tag
	CreatedAt     time.Time
	CreatedBy     string
	Request       string // hash of what created it

	// Rollouts are its deployments: the first is PRIMARY, the others are on their way out.
	Rollouts []rollout
	// Completed is the id of the last rollout that was COMPLETED: what a rollback goes to.
	Completed string `json:",omitempty"`
	// Unplaced is how many tasks found no host last time, Tries how often in a row.
	Unplaced, Tries int       `json:",omitempty"`
	RetryAt         time.Time // no launch before
	Steady          bool      // it has all that was asked for, and an event says so
	EndedAt         time.Time // when it became INACTIVE

	// Given is what a task held before the last deployment that a changed secret made.
	Given []acs.Held `json:",omitempty"`
	// Refused are the versions for which such a deployment was rolled back, Alerted those
	// that an event told of.
	Refused, Alerted []acs.Held `json:",omitempty"`
	// Refresh is under way; nil: none is.
	Refresh *refreshing `json:",omitempty"`
}

// rollout is one of "deployments" in DescribeServices. Its id is its service revision's.
type rollout struct {
	ID         string // digits
	Deployment string // the service deployment that it belongs to
	Family     string
	Revision   int32
	State      types.DeploymentRolloutState
	Reason     string
	Failed     int32 // tasks, in a row
	FailedAt   time.Time
	CreatedAt  time.Time
	UpdatedAt  time.Time

	// Cause is the versions that made it, when it is for a changed secret.
	Cause []acs.Held `json:",omitempty"`
	// Pins is what tasks are given in place of the current versions: those that the first task
	// of a pinned deployment was given, or those from before what was rolled back.
	Pins []acs.Held `json:",omitempty"`
}

// revision is a service revision: what tasks of a rollout are made of. It never changes.
type revision struct {
	ID, Service, Cluster string
	Family               string
	Revision             int32
	LaunchType           types.LaunchType
	Platform             string                               `json:",omitempty"`
	Asked                string                               `json:",omitempty"` // the platform version of the request, which may be LATEST
	Providers            []types.CapacityProviderStrategyItem `json:",omitempty"`
	Network              *types.NetworkConfiguration          `json:",omitempty"`
	Volumes              []types.ServiceVolumeConfiguration   `json:",omitempty"`
	Storage              storageKeys                          `json:",omitzero"` // of the cluster, when it was made
	Images               []types.ContainerImage
	CreatedAt            time.Time
}

// member is a task of a service, until what became of it has been counted.
type member struct {
	Rollout string
	Ended   bool `json:",omitempty"`
	// Failure is why it failed; "" when it was told to stop, or served well first.
	Failure string `json:",omitempty"`
	// Launch tells that it never ran.
	Launch bool `json:",omitempty"`
}

// events are a service's, newest first.
type events struct{ Events []types.ServiceEvent }

func (v *service) primary() *rollout { return &v.Rollouts[0] }

func (v *service) daemon() bool { return v.Strategy == types.SchedulingStrategyDaemon }

func (v *service) group() string { return "service:" + v.Name }

// change sets a rollout's state.
func (r *rollout) change(state types.DeploymentRolloutState, at time.Time, format string, args ...any) {
	r.State, r.Reason, r.UpdatedAt = state, fmt.Sprintf(format, args...), at
}

func deploymentID(id string) string { return "ecs-svc/" + id }

func (sc scope) serviceARN(cluster, name string) string {
	return sc.arn("service/" + cluster + "/" + name)
}
func (sc scope) revisionARN(cluster, name, id string) string {
	return sc.arn("service-revision/" + cluster + "/" + name + "/" + id)
}
func (sc scope) serviceDeploymentARN(cluster, name, id string) string {
	return sc.arn("service-deployment/" + cluster + "/" + name + "/" + id)
}

var servicePattern = lazyregexp.New(`^[A-Za-z0-9_-]{1,255}$`)

// serviceName is the name that a request means by a name or an ARN; "" when it cannot be
// of that cluster.
func (sc scope) serviceName(cluster, ref string) (string, error) {
	name := ref
	if strings.HasPrefix(ref, "arn:") {
		owner, resource, ok := splitARN(ref)
		parts := strings.Split(resource, "/")
		if !ok || parts[0] != "service" || len(parts) < 2 || len(parts) > 3 {
			return "", invalidParameter("Invalid identifier: Identifier is for %s. Your request is for service.", parts[0])
		}
		if owner != sc || len(parts) == 3 && parts[1] != cluster {
			return "", nil
		}
		name = parts[len(parts)-1]
	}
	if !servicePattern.MatchString(name) {
		return "", invalidParameter("Invalid service name: '%s'. It can have up to 255 letters, numbers, underscores and hyphens.", name)
	}
	return name, nil
}

// newRolloutID is nineteen digits, which is what ECS's look like.
func newRolloutID() string {
	n, err := rand.Int(rand.Reader, big.NewInt(8e18))
	if err != nil {
		panic("ecs: " + err.Error()) // crypto/rand does not fail
	}
	return fmt.Sprintf("%019d", n.Int64()+1e18)
}

// findService reads a service; nil when there is none.
func (s *Service) findService(tx store.Tx, sc scope, cluster, name string) (*service, error) {
	v, err := s.services.Get(tx, sc.key("service", cluster, name))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return v, err
}

func (s *Service) putService(tx store.Tx, sc scope, v *service) error {
	if err := s.followSecrets(tx, sc, v); err != nil {
		return err
	}
	return s.services.Put(tx, sc.key("service", v.Cluster, v.Name), v)
}

func (s *Service) revision(tx store.Tx, sc scope, cluster, name, id string) (*revision, error) {
	r, err := s.revisions.Get(tx, sc.key("service-revision", cluster, name, id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return r, err
}

func serviceNotFound() error {
	return &types.ServiceNotFoundException{Message: aws.String("Service not found.")}
}

func serviceNotActive() error {
	return &types.ServiceNotActiveException{Message: aws.String("Service was not ACTIVE.")}
}

// serviceRef is a service that a request names, by its cluster and its name.
type serviceRef struct {
	scope
	cluster, name string
}

// authorizeService asks for an action on the service that a request names, with its tags,
// and returns these.
func (s *Service) authorizeService(ctx context.Context, clusterRef, ref *string, access *authz.Access) (serviceRef, []types.Tag, error) {
	r := serviceRef{scope: scopeOf(ctx)}
	var err error
	r.cluster, err = r.clusterName(clusterRef)
	if err == nil {
		r.name, err = r.serviceName(r.cluster, aws.ToString(ref))
	}
	resource := r.name
	if resource == "" {
		resource = "*"
	}
	var tags []types.Tag
	if r.name != "" {
		if err := s.store.View(ctx, func(tx store.Tx) error {
			v, err := s.findService(tx, r.scope, r.cluster, r.name)
			if v != nil {
				tags = v.Tags
			}
			return err
		}); err != nil {
			return r, nil, err
		}
	}
	access.Resource, access.Tags = r.serviceARN(r.cluster, resource), tagMap(tags)
	if access.Conditions == nil {
		access.Conditions = map[string][]string{}
	}
	access.Conditions["ecs:cluster"] = []string{r.clusterARN(r.cluster)}
	if denied := s.authz.Authorize(ctx, access); denied != nil {
		return r, nil, denied
	}
	return r, tags, err
}

// errRetagged: the tags that a decision rested on are others by now.
var errRetagged = errors.New("the service's tags changed")

// changeService authorizes access and changes a copy of the service. When its tags change
// meanwhile, it decides anew.
func (s *Service) changeService(ctx context.Context, clusterRef, ref *string, access *authz.Access, change func(store.Tx, serviceRef, *service) error) error {
	for {
		r, tags, err := s.authorizeService(ctx, clusterRef, ref, access)
		if err != nil {
			return err
		}
		err = s.store.Update(ctx, func(tx store.Tx) error {
			if _, err := s.activeCluster(tx, r.scope, r.cluster); err != nil {
				return err
			}
			v, err := s.findService(tx, r.scope, r.cluster, r.name)
			if err != nil {
				return err
			}
			if v == nil {
				return serviceNotFound()
			}
			if !sameTags(v.Tags, tags) {
				return errRetagged
			}
			v = copyOf(v)
			if err := change(tx, r, v); err != nil {
				return err
			}
			if err := s.putService(tx, r.scope, v); err != nil {
				return err
			}
			return s.wake(tx, r.scope, v.Cluster, v.Name)
		})
		if !errors.Is(err, errRetagged) {
			return err
		}
	}
}

func sameTags(a, b []types.Tag) bool {
	return slices.EqualFunc(a, b, func(x, y types.Tag) bool {
		return aws.ToString(x.Key) == aws.ToString(y.Key) && aws.ToString(x.Value) == aws.ToString(y.Value)
	})
}
