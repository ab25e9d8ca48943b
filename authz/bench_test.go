package authz_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/policy"
)

// thousand has the policies of a thousand roles, compiled.
type thousand map[string]*policy.Set

func (t thousand) Policies(_ context.Context, p *caller.Principal) (*policy.Set, error) {
	return t[p.RoleARN], nil
}

// What a decision takes, by one of a thousand roles in turn, each with a policy of its own:
// every statement is about other secrets, each third asks for a tag, and the last allows. The
// figure grows with the statements, not with the roles.
func BenchmarkThousandRoles(b *testing.B) {
	const roles = 1000
	for _, statements := range []int{1, 10, 25, 50, 100, 200} {
		b.Run(fmt.Sprint(statements), func(b *testing.B) {
			sets := thousand{}
			type question struct {
				ctx    context.Context
				access *authz.Access
			}
			var questions []question
			for r := range roles {
				var list []string
				for s := range statements {
					condition := ""
					if (statements-1-s)%3 == 0 { // the last among them
						condition = `,"Condition":{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}`
					}
					list = append(list, fmt.Sprintf(`{"Effect":"Allow","Action":["secretsmanager:GetSecretValue","secretsmanager:DescribeSecret"],"Resource":"arn:aws:secretsmanager:*:111122223333:secret:role%d/app%d/*-??????"%s}`, r, s, condition))
				}
				document, err := policy.Parse(policy.Identity, []byte(`{"Version":"2012-10-17","Statement":[`+strings.Join(list, ",")+`]}`))
				if err != nil {
					b.Fatal(err)
				}
				role := fmt.Sprintf("arn:aws:iam::111122223333:role/role%d", r)
				sets[role] = &policy.Set{Identity: []policy.Source{{Document: document, Name: "read"}}}
				tags := map[string]string{"team": fmt.Sprint("team", r)}
				questions = append(questions, question{
					caller.With(context.Background(), &caller.Request{Region: "eu-west-1", Time: time.Now(), Principal: &caller.Principal{
						Type: caller.AssumedRole, Account: "111122223333", ARN: fmt.Sprintf("arn:aws:sts::111122223333:assumed-role/role%d/task", r), RoleARN: role, Tags: tags,
					}}),
					&authz.Access{Action: "secretsmanager:GetSecretValue", Tags: tags, Resource: fmt.Sprintf("arn:aws:secretsmanager:eu-west-1:111122223333:secret:role%d/app%d/db-AbCdEf", r, statements-1)},
				})
			}
			a := authz.New(authz.Config{Policies: sets})
			b.ReportAllocs()
			i, before := 0, cpu(b)
			for b.Loop() {
				q := questions[i%roles]
				i++
				if d, err := a.Decide(q.ctx, q.access); err != nil || !d.Allowed {
					b.Fatal(d.Because(), err)
				}
			}
			// On a machine that others use too, the processor's time is the figure.
			took := float64(cpu(b)-before) / float64(b.N)
			b.ReportMetric(took, "cpu-ns/op")
			b.ReportMetric(took/float64(statements), "cpu-ns/statement")
		})
	}
}

// cpu is the processor time of this process so far.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
