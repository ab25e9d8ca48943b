package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/rotation/functions"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
)

// Engine is an engine on the control plane's own host, where the images of rotation
// functions run.
type Engine struct {
	Region, Cluster string
	Name            string // the value of its container instance's attribute malote.engine
}

// rotationRole is the role as which the control plane runs the images of rotation
// functions: through ECS's API and with no right but those that this takes, so that the
// audit has it and a policy may deny it.
const rotationRole = "malote-rotation"

// Nobody but the control plane itself gets the role: no request comes from this service.
const rotationTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"secretsmanager.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// imageEngine is where the images of config run; nil if there is no engine.
func (c *ControlPlane) imageEngine(config Config, client *http.Client) (*functions.Engine, error) {
	e := config.Engine
	if e == nil {
		return nil, nil
	}
	account := config.Bootstrap.Account
	policy, err := rotationPolicy(account, e, config.RotationFunctions)
	if err != nil {
		return nil, err
	}
	return &functions.Engine{
		Account: account, Cluster: e.Cluster, Name: e.Name,
		AWS: aws.Config{
			Region: e.Region, BaseEndpoint: aws.String("https://malote"), HTTPClient: client,
			Credentials: c.own(account, e.Name, "rotation functions' containers", func(ctx context.Context, account string) (*directory.Role, error) {
				return c.rotation(ctx, account, policy)
			}),
		},
	}, nil
}

// rotation is the role, made when it is first needed. Its policy follows the file of
// functions.
func (c *ControlPlane) rotation(ctx context.Context, account, policy string) (role *directory.Role, err error) {
	err = c.Directory.Update(ctx, func(tx *directory.Tx) error {
		role, err = tx.Role(account, rotationRole)
		switch {
		case errors.Is(err, store.ErrNotFound):
			trust, err := tx.NewTrust(rotationTrust)
			if err != nil {
				return err
			}
			role = &directory.Role{
				Entity:      directory.Entity{Account: account, Path: "/malote/", Name: rotationRole, ID: directory.NewID("AROA"), Created: c.now().UTC()},
				Description: "the control plane, when it runs the images of rotation functions",
				MaxSession:  int32(instanceSession.Seconds()),
				Trust:       trust,
			}
		case err != nil:
			return err
		case role.Path != "/malote/":
			return fmt.Errorf("there is another role %s, with the path %s: malote needs the name for its own", rotationRole, role.Path)
		}
		i := slices.IndexFunc(role.Inline, func(p directory.Inline) bool { return p.Name == rotationRole })
		switch {
		case i < 0:
			role.Inline = append(role.Inline, directory.Inline{Name: rotationRole, Document: policy})
			slices.SortFunc(role.Inline, func(a, b directory.Inline) int { return strings.Compare(a.Name, b.Name) })
		case role.Inline[i].Document == policy:
			return nil
		default:
			role.Inline[i].Document = policy
		}
		return tx.PutRole(role)
	})
	return role, err
}

// rotationPolicy allows what running the functions' images takes: to pass on the roles that
// the file names and no other.
func rotationPolicy(account string, e *Engine, definitions map[string]functions.Definition) (string, error) {
	roles := map[string]bool{}
	for _, d := range definitions {
		if d.Image != "" {
			roles[d.Role] = true
		}
	}
	arn := func(resource string) string { return "arn:aws:ecs:" + e.Region + ":" + account + ":" + resource }
	within := map[string]any{"ArnEquals": map[string]string{"ecs:cluster": arn("cluster/" + e.Cluster)}}
	type statement struct {
		Effect    string
		Action    any
		Resource  any
		Condition any `json:",omitempty"`
	}
	statements := []statement{
		{"Allow", "ecs:RegisterTaskDefinition", "*", nil},
		{"Allow", "ecs:RunTask", arn("task-definition/" + functions.FamilyPrefix + "*:*"), within},
		{"Allow", "ecs:ListTasks", "*", within},
		{"Allow", []string{"ecs:DescribeTasks", "ecs:StopTask"}, arn("task/" + e.Cluster + "/*"), nil},
	}
	if len(roles) > 0 {
		statements = append(statements, statement{"Allow", "iam:PassRole", slices.Sorted(maps.Keys(roles)), map[string]any{
			"StringEquals": map[string]string{"iam:PassedToService": "ecs-tasks.amazonaws.com"},
		}})
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	return string(text), err
}
