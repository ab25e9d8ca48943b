package ssm

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/audit"
	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store/memory"
)

// Of several control planes on one store, and of one that is started again, exactly one
// executes a policy, and leaves the event.
func TestOneExecutes(t *testing.T) {
	t.Parallel()
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	var events audit.Memory
	now := time.Now()
	plane := func(later time.Duration) *Service {
		return New(Config{Store: st, Authz: authz.New(authz.Config{}), Audit: &events, Now: func() time.Time { return now.Add(later) }})
	}
	root := as(t.Context(), &caller.Principal{Type: caller.Account, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":root", ID: testAccount})
	_, err := plane(0).PutParameter(root, &ssm.PutParameterInput{
		Name: aws.String("/a/p"), Value: aws.String("the value"), Type: types.ParameterTypeString, Tier: types.ParameterTierAdvanced,
		Policies: aws.String(`[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"1","Unit":"Hours"}},
			{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"` + now.Add(3*time.Hour).Format(time.RFC3339) + `"}}]`)})
	if err != nil {
		t.Fatal(err)
	}
	for round, want := range []string{"NoChangeNotification", "Expiration"} {
		var planes sync.WaitGroup
		for range 8 {
			s := plane(time.Duration(2+2*round) * time.Hour)
			planes.Go(func() {
				if err := Maintain(t.Context(), s); err != nil {
					t.Error(err)
				}
			})
		}
		planes.Wait()
		records := events.Records()
		if len(records) != round+1 {
			t.Fatalf("%d events after round %d", len(records), round)
		}
		var event struct {
			Source string `json:"source"`
			Type   string `json:"detail-type"`
			Detail map[string]string
		}
		if err := json.Unmarshal(records[round].Details, &event); err != nil {
			t.Fatal(err)
		}
		if event.Source != "aws.ssm" || event.Type != "Parameter Store Policy Action" || event.Detail["policy-type"] != want || event.Detail["parameter-name"] != "/a/p" {
			t.Errorf("event %d = %s", round, records[round].Details)
		}
	}
}

func FuzzPolicies(f *testing.F) {
	f.Add(`[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2050-12-02T21:34:33.000Z"}}]`)
	f.Add(`[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"20","Unit":"Days"}}]`)
	f.Add(`[{}]`)
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		policies, err := parsePolicies(text, now)
		if err != nil {
			return
		}
		if len(policies) > maxPolicies {
			t.Fatalf("%d policies", len(policies))
		}
		// What an answer shows is read as the same again.
		for _, p := range policies {
			if p.Type == expirationNotification {
				continue // not without its Expiration
			}
			again, err := parsePolicies("["+p.Text+"]", now)
			if err != nil || len(again) != 1 || !samePolicy(p, again[0]) {
				t.Fatalf("%s is read as %+v, %v", p.Text, again, err)
			}
		}
	})
}
