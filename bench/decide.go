package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

const decidingRoles = 1000

// decisions measures what a decision takes among a thousand roles, each with a policy of its
// own, whose last statement allows: in this process, without a server.
func (b *bench) decisions(ctx context.Context) error {
	note("decisions of %d roles", decidingRoles)
	few, err := newDeciding(25)
	if err != nil {
		return err
	}
	many, err := newDeciding(50)
	if err != nil {
		return err
	}
	var took, growth []float64
	for range b.rounds {
		x, err := few.round(ctx)
		if err != nil {
			return err
		}
		y, err := many.round(ctx)
		if err != nil {
			return err
		}
		took, growth = append(took, y), append(growth, y/x)
	}
	b.add(figure{"decision among 1,000 roles of 50 statements, CPU", median(took), "µs", 5, 2.5, false, spread(took)})
	b.add(figure{"decision with 50 statements ÷ with 25", median(growth), "", 2.2, 2, false, spread(growth)})
	return nil
}

// deciding is who asks for what, and the policies that decide.
type deciding struct {
	authorizer *authz.Authorizer
	sets       map[string]*policy.Set
	callers    []context.Context
	accesses   []*authz.Access
}

// Policies implements authz.PolicySource.
func (d *deciding) Policies(_ context.Context, p *caller.Principal) (*policy.Set, error) {
	return d.sets[p.RoleARN], nil
}

func newDeciding(statements int) (*deciding, error) {
	d := &deciding{sets: map[string]*policy.Set{}}
	d.authorizer = authz.New(authz.Config{Policies: d})
	for r := range decidingRoles {
		var list []string
		for s := range statements {
			condition := ""
			if (statements-1-s)%3 == 0 { // the last among them
				condition = `,"Condition":{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}`
			}
			list = append(list, fmt.Sprintf(`{"Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],"Resource":"arn:aws:secretsmanager:*:123456789012:secret:role%d/app%d/*-??????"%s}`, r, s, condition))
		}
		document, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[`+strings.Join(list, ",")+`]}`))
		if err != nil {
			return nil, err
		}
		role, tags := fmt.Sprintf("arn:aws:iam::123456789012:role/role%d", r), map[string]string{"team": fmt.Sprint("team", r)}
		d.sets[role] = &policy.Set{Identity: []policy.Source{{Document: document, Name: "read"}}}
		d.callers = append(d.callers, caller.With(context.Background(), &caller.Request{Region: region, Time: time.Now(), Principal: &caller.Principal{
			Type: caller.AssumedRole, Account: "123456789012", ARN: fmt.Sprintf("arn:aws:sts::123456789012:assumed-role/role%d/task", r), RoleARN: role, Tags: tags,
		}}))
		d.accesses = append(d.accesses, &authz.Access{Action: "secretsmanager:GetSecretValue", Tags: tags, Resource: fmt.Sprintf("arn:aws:secretsmanager:us-east-1:123456789012:secret:role%d/app%d/db-AbCdEf", r, statements-1)})
	}
	return d, nil
}

// round has each role ask twenty times, and returns the microseconds of a decision.
func (d *deciding) round(ctx context.Context) (float64, error) {
	before, err := ownCPU()
	if err != nil {
		return 0, err
	}
	const times = 20
	for range times {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		for i, access := range d.accesses {
			if decision, err := d.authorizer.Decide(d.callers[i], access); err != nil || !decision.Allowed {
				return 0, fmt.Errorf("role %d: %s, %w", i, decision.Because(), err)
			}
		}
	}
	after, err := ownCPU()
	return float64((after - before).Nanoseconds()) / 1000 / times / decidingRoles, err
}

// ownCPU is the processor time of this process.
func ownCPU() (time.Duration, error) {
	var used syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), err
}
