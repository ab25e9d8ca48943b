package policy_test

import (
	"fmt"
	"testing"

	"github.com/malote/malote/policy"
)

func BenchmarkEvaluate(b *testing.B) {
	for _, statements := range []int{1, 50, 100} {
		for _, kind := range []string{"literal", "wildcard", "condition"} {
			b.Run(fmt.Sprintf("%d/%s", statements, kind), func(b *testing.B) {
				var list []string
				for i := range statements {
					resource := fmt.Sprintf("arn:aws:secretsmanager:eu-west-1:111122223333:secret:app%d/db-AbCdEf", i)
					rest := ""
					switch kind {
					case "wildcard":
						resource = fmt.Sprintf("arn:aws:secretsmanager:*:111122223333:secret:app%d/*-??????", i)
					case "condition":
						resource = "*"
						rest = fmt.Sprintf(` "Condition":{"StringEquals":{"aws:PrincipalTag/team":"team%d"}}`, i)
					}
					list = append(list, "Allow secretsmanager:GetSecretValue "+resource+rest)
				}
				s := &policy.Set{Identity: []policy.Source{document(b, policy.Identity, list...)}}
				r := &policy.Request{Principal: bob, Action: get, Context: policy.Context{"aws:principaltag/team": {fmt.Sprintf("team%d", statements-1)}},
					Resource: fmt.Sprintf("arn:aws:secretsmanager:eu-west-1:111122223333:secret:app%d/db-AbCdEf", statements-1)}
				if d := policy.Evaluate(r, s); !d.Allowed {
					b.Fatal(d.Because())
				}
				b.ReportAllocs()
				for b.Loop() {
					policy.Evaluate(r, s)
				}
			})
		}
	}
}

func BenchmarkParse(b *testing.B) {
	var list []string
	for i := range 50 {
		list = append(list, fmt.Sprintf("Allow secretsmanager:GetSecretValue arn:aws:secretsmanager:*:111122223333:secret:app%d/*-??????", i))
	}
	text, _ := texts.Load(document(b, policy.Identity, list...).Document)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Parse(policy.Identity, []byte(text.(string))); err != nil {
			b.Fatal(err)
		}
	}
}
