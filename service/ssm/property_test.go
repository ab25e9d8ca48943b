package ssm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store/memory"
)

// model is a parameter as its documentation tells it: values by number from 1 on, of which
// the last hundred are kept, and labels, each on one of them.
type model struct {
	values map[int64]string
	last   int64
	labels map[string]int64
}

func (m *model) oldest() int64 { return max(1, m.last-maxVersions+1) }

func (m *model) on(number int64) (labels []string) {
	for _, label := range slices.Sorted(maps.Keys(m.labels)) {
		if m.labels[label] == number {
			labels = append(labels, label)
		}
	}
	return labels
}

// Versions and labels do what the model does, whatever is done with them.
func TestVersionsAndLabels(t *testing.T) {
	t.Parallel()
	for range 6 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			testVersionsAndLabels(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

func testVersionsAndLabels(t *testing.T, random *rand.Rand) {
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	s := New(Config{Store: st, Authz: authz.New(authz.Config{})})
	ctx := as(t.Context(), &caller.Principal{Type: caller.Account, Account: testAccount, ARN: "arn:aws:iam::" + testAccount + ":root", ID: testAccount})
	name := aws.String("/a/p")
	m := &model{labels: map[string]int64{}, values: map[int64]string{}}
	var labels []string // more than one version takes
	for i := range 13 {
		labels = append(labels, fmt.Sprintf("label%02d", i))
	}
	some := func() []string {
		picked := slices.Clone(labels)
		random.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
		return picked[:1+random.IntN(3)]
	}
	version := func() int64 { // mostly one that there is
		return m.oldest() - 1 + random.Int64N(min(m.last, maxVersions)+2)
	}
	for step := range 600 {
		switch p := random.IntN(100); {
		case p < 50 || m.last == 0:
			value := strconv.Itoa(step)
			out, err := s.PutParameter(ctx, &ssm.PutParameterInput{Name: name, Value: &value, Type: types.ParameterTypeString, Overwrite: aws.Bool(true)})
			var full *types.ParameterMaxVersionLimitExceeded
			if m.last >= maxVersions && len(m.on(m.oldest())) > 0 {
				if !errors.As(err, &full) {
					t.Fatalf("step %d: PutParameter = %v with a label on the oldest version", step, err)
				}
				break
			}
			m.last++
			m.values[m.last] = value
			if err != nil || out.Version != m.last {
				t.Fatalf("step %d: PutParameter = %+v, %v, want version %d", step, out, err, m.last)
			}
		case p < 70:
			on, put := version(), some()
			in := &ssm.LabelParameterVersionInput{Name: name, ParameterVersion: &on, Labels: append(slices.Clone(put), "9lives")}
			_, there := m.values[on]
			there = there && on >= m.oldest()
			after := maps.Clone(m.labels)
			for _, label := range put {
				after[label] = on
			}
			out, err := s.LabelParameterVersion(ctx, in)
			var absent *types.ParameterVersionNotFound
			var limit *types.ParameterVersionLabelLimitExceeded
			switch moved := (&model{labels: after}); {
			case !there:
				if !errors.As(err, &absent) {
					t.Fatalf("step %d: labelling version %d = %v", step, on, err)
				}
			case len(moved.on(on)) > maxLabels:
				if !errors.As(err, &limit) {
					t.Fatalf("step %d: too many labels = %v", step, err)
				}
			case err != nil || out.ParameterVersion != on || !slices.Equal(out.InvalidLabels, []string{"9lives"}):
				t.Fatalf("step %d: LabelParameterVersion = %+v, %v", step, out, err)
			default:
				m.labels = after
			}
		case p < 98:
			on, off := version(), some()
			_, there := m.values[on]
			there = there && on >= m.oldest()
			out, err := s.UnlabelParameterVersion(ctx, &ssm.UnlabelParameterVersionInput{Name: name, ParameterVersion: &on, Labels: off})
			if !there {
				var absent *types.ParameterVersionNotFound
				if !errors.As(err, &absent) {
					t.Fatalf("step %d: unlabelling version %d = %v", step, on, err)
				}
				break
			}
			var removed []string
			for _, label := range off {
				if m.labels[label] == on {
					delete(m.labels, label)
					removed = append(removed, label)
				}
			}
			if err != nil || !slices.Equal(out.RemovedLabels, removed) || len(out.InvalidLabels) != len(off)-len(removed) {
				t.Fatalf("step %d: UnlabelParameterVersion(%d, %v) = %+v, %v, want %v removed", step, on, off, out, err, removed)
			}
		case p == 98 && step > 300:
			if _, err := s.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: name}); err != nil {
				t.Fatal(err)
			}
			*m = model{labels: map[string]int64{}, values: map[int64]string{}}
		}
		compare(ctx, t, s, *name, m, step, version(), labels[random.IntN(len(labels))])
	}
}

func compare(ctx context.Context, t *testing.T, s *Service, name string, m *model, step int, number int64, label string) {
	t.Helper()
	check := func(selector string, want int64, there bool) {
		t.Helper()
		p, err := s.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String(name + selector)})
		switch {
		case !there:
			if !isNotFound(err) {
				t.Fatalf("step %d: GetParameter(%s) = %v, want none", step, selector, err)
			}
		case err != nil || p.Parameter.Version != want || *p.Parameter.Value != m.values[want]:
			t.Fatalf("step %d: GetParameter(%s) = %+v, %v, want version %d", step, selector, p, err, want)
		}
	}
	check("", m.last, m.last > 0)
	check(":"+strconv.FormatInt(number, 10), number, number >= m.oldest() && number <= m.last)
	check(":"+label, m.labels[label], m.labels[label] > 0)
	if step%50 != 49 || m.last == 0 {
		return
	}
	at := m.oldest()
	pages := ssm.GetParameterHistoryInput{Name: &name, MaxResults: aws.Int32(7)}
	for {
		out, err := s.GetParameterHistory(ctx, &pages)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range out.Parameters {
			if v.Version != at || *v.Value != m.values[at] || !slices.Equal(v.Labels, m.on(at)) {
				t.Fatalf("step %d: history has %d %v, want %d %v", step, v.Version, v.Labels, at, m.on(at))
			}
			at++
		}
		if pages.NextToken = out.NextToken; out.NextToken == nil {
			break
		}
	}
	if at != m.last+1 {
		t.Fatalf("step %d: the history ends before version %d, want %d", step, at, m.last+1)
	}
}
