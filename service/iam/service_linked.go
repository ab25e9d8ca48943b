package iam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/internal/lazyregexp"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// linked is what a service's own role is like.
type linked struct{ role, policy string }

// linkable are the services that have a role of their own here: ECS, which uses none, for
// it asks Docker and nobody else; the role is for those whose tools make it.
var linkable = map[string]linked{
	"ecs.amazonaws.com": {"AWSServiceRoleForECS", "AmazonECSServiceRolePolicy"},
}

const serviceCondition = "iam:AWSServiceName"

// linkedPrefix is of the paths of services' own roles.
const linkedPrefix = "/aws-service-role/"

func linkedPath(service string) string { return linkedPrefix + service + "/" }

// modifiable refuses to change a role that is a service's.
func modifiable(sub *subject) error {
	if sub.role == nil || sub.role.Linked == "" {
		return nil
	}
	return unmodifiable("Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", sub.Name)
}

// CreateServiceLinkedRole makes the role of a service, whose policies only the service changes.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/using-service-linked-roles.html
func (s *Service) CreateServiceLinkedRole(ctx context.Context, in *iam.CreateServiceLinkedRoleInput) (*iam.CreateServiceLinkedRoleOutput, error) {
	service := aws.ToString(in.AWSServiceName)
	of, known := linkable[service]
	r := &directory.Role{
		Entity: directory.Entity{
			Account: account(ctx), Path: linkedPath(service), Name: of.role, ID: directory.NewID("AROA"), Created: s.now().UTC(),
			Attached: []string{"arn:aws:iam::aws:policy/aws-service-role/" + of.policy},
		},
		Description: aws.ToString(in.Description), MaxSession: defaultMaxSession, Linked: service,
	}
	if !known {
		r.Name = "*"
	}
	access := &authz.Access{Action: "iam:CreateServiceLinkedRole", Resource: r.ARN(), Conditions: map[string][]string{serviceCondition: {service}}}
	if err := s.authorize(ctx, access); err != nil {
		return nil, err
	}
	if !known {
		return nil, invalidInput("%s has no service-linked role here; ecs.amazonaws.com has.", service)
	}
	if in.CustomSuffix != nil {
		return nil, invalidInput("Custom suffix is not allowed for %s", service)
	}
	out := new(iam.CreateServiceLinkedRoleOutput)
	err := s.dir.Update(ctx, func(tx *directory.Tx) error {
		_, err := tx.Role(r.Account, r.Name)
		if err == nil {
			return invalidInput("Service role name %s has been taken in this account, please try a different suffix.", r.Name)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		trust := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":%q},"Action":"sts:AssumeRole"}]}`, service)
		if r.Trust, err = newTrust(tx, trust); err != nil {
			return err
		}
		if out.Role, err = fullRole(tx, r); err != nil {
			return err
		}
		out.Role.MaxSessionDuration, out.Role.Description = nil, nil // AWS leaves them out here
		return tx.PutRole(r)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteServiceLinkedRole deletes a service's role. No service uses its role here, so the
// task is done when it is answered.
func (s *Service) DeleteServiceLinkedRole(ctx context.Context, in *iam.DeleteServiceLinkedRoleInput) (*iam.DeleteServiceLinkedRoleOutput, error) {
	access := &authz.Access{Action: "iam:DeleteServiceLinkedRole"}
	for service, of := range linkable {
		if strings.EqualFold(of.role, *in.RoleName) {
			condition(access, serviceCondition, service)
		}
	}
	id := newUUID()
	out := new(iam.DeleteServiceLinkedRoleOutput)
	err := s.write(ctx, directory.KindRole, *in.RoleName, access, func(tx *directory.Tx, sub *subject) error {
		if sub.role.Linked == "" {
			return noSuchEntity("%s exists but is not a service role.", sub.Name)
		}
		out.DeletionTaskId = aws.String("task" + sub.Path + sub.Name + "/" + id)
		if err := tx.PutDeletion(sub.Account, id, &directory.Deletion{Role: sub.arn(), Time: s.now().UTC()}); err != nil {
			return err
		}
		return sub.delete(tx)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

var deletionTasks = lazyregexp.New(`^task(/aws-service-role/[^/]+/[^/]+)/([0-9a-f-]{36})$`)

// GetServiceLinkedRoleDeletionStatus knows deletions for a month.
func (s *Service) GetServiceLinkedRoleDeletionStatus(ctx context.Context, in *iam.GetServiceLinkedRoleDeletionStatusInput) (*iam.GetServiceLinkedRoleDeletionStatusOutput, error) {
	access := &authz.Access{Action: "iam:GetServiceLinkedRoleDeletionStatus", Resource: "*"}
	task := deletionTasks.FindStringSubmatch(*in.DeletionTaskId)
	if task != nil {
		access.Resource = "arn:aws:iam::" + account(ctx) + ":role" + task[1]
	}
	if err := s.authorize(ctx, access); err != nil {
		return nil, err
	}
	if task == nil {
		return nil, invalidInput("Invalid task id")
	}
	err := s.dir.View(ctx, func(tx *directory.Tx) error {
		d, err := tx.Deletion(account(ctx), task[2])
		if errors.Is(err, store.ErrNotFound) || err == nil && d.Role != access.Resource {
			return noSuchEntity("Cannot find deletion status for given id.")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &iam.GetServiceLinkedRoleDeletionStatusOutput{Status: types.DeletionTaskStatusTypeSucceeded}, nil
}
