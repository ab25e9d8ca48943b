package secretsmanager

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Whatever is asked in whatever order, a label is on one version at most, AWSCURRENT never
// goes once it came, and AWSPREVIOUS moves only with it or by name.
func TestStageMachine(t *testing.T) {
	t.Parallel()
	labels := []string{current, previous, pending, "BLUE", "AWSSOMETHING"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		now := time.Unix(0, 0)
		x := &secret{Name: "s", Suffix: "AbCdEf"}
		x.Prepare()
		for step := range 300 {
			now = now.Add(time.Duration(r.IntN(7200)) * time.Second)
			before := x.clone()
			x = x.clone()
			what := ""
			moved := map[string]bool{}
			if len(x.Versions) == 0 || r.IntN(3) == 0 {
				stages := pick(r, labels)
				what = fmt.Sprintf("put %v", stages)
				for _, l := range stages {
					moved[l] = true
				}
				if len(stages) == 0 {
					moved[current] = true
				}
				if err := x.put(version{ID: fmt.Sprint(step), Created: now, Key: "k"}, stages); err != nil {
					t.Fatal(err)
				}
				x.prune(now)
			} else {
				label := labels[r.IntN(len(labels))]
				from, to := someVersion(r, x), someVersion(r, x)
				if h := x.holder(label); h != nil && r.IntN(2) == 0 {
					from = aws.String(h.ID)
				}
				what = fmt.Sprintf("move %s from %v to %v", label, aws.ToString(from), aws.ToString(to))
				moved[label] = true
				if err := x.moveStage(label, from, to); err != nil {
					if from != nil && to != nil && x.holder(label) != nil && x.holder(label).ID == *from {
						t.Errorf("seed %d step %d %s: %v", seed, step, what, err)
					}
					x = before
					continue
				}
			}

			seen := map[string]int{}
			for _, v := range x.Versions {
				if !slices.IsSorted(v.Stages) {
					t.Errorf("labels of %s are not sorted: %v", v.ID, v.Stages)
				}
				for _, l := range v.Stages {
					seen[l]++
				}
			}
			for l, n := range seen {
				if n != 1 {
					t.Fatalf("seed %d step %d %s: %s is on %d versions", seed, step, what, l, n)
				}
			}
			if seen[current] != 1 && before.holder(current) != nil {
				t.Fatalf("seed %d step %d %s: no version is current", seed, step, what)
			}
			was, is := before.holder(current), x.holder(current)
			if was != nil && is.ID != was.ID && !moved[previous] {
				if p := x.holder(previous); p == nil || p.ID != was.ID {
					t.Fatalf("seed %d step %d %s: the version that was current is not the previous one", seed, step, what)
				}
			}
			if was != nil && is.ID == was.ID && !moved[previous] && idOf(before.holder(previous)) != idOf(x.holder(previous)) {
				t.Fatalf("seed %d step %d %s: AWSPREVIOUS moved on its own", seed, step, what)
			}
			if len(x.Versions) > hardLimit {
				t.Fatalf("seed %d: %d versions", seed, len(x.Versions))
			}
		}
	}
}

func pick(r *rand.Rand, labels []string) []string {
	var some []string
	for _, l := range labels {
		if r.IntN(4) == 0 {
			some = append(some, l)
		}
	}
	return some
}

func someVersion(r *rand.Rand, x *secret) *string {
	if r.IntN(3) == 0 {
		return nil
	}
	return aws.String(x.Versions[r.IntN(len(x.Versions))].ID)
}

func idOf(v *version) string {
	if v == nil {
		return ""
	}
	return v.ID
}

// The versions that are dropped are the oldest without labels, and only when there are
// too many: those of the last day have twice the room.
func TestPrune(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		age   time.Duration // between versions
		count int
		want  int // how many are left
	}{
		{"few", time.Hour, 100, 100},
		{"slowly", time.Hour, 150, 100},
		{"fast", time.Second, 150, 150},
		{"too fast", time.Second, 250, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			x := &secret{}
			for i := range tt.count {
				x.Versions = append(x.Versions, version{ID: fmt.Sprint(i), Created: now.Add(-time.Duration(tt.count-i) * tt.age)})
			}
			x.attach("OLDEST", "0")
			x.attach(current, fmt.Sprint(tt.count-1))
			pruned := x.prune(now)
			if len(x.Versions) != tt.want || len(pruned) != tt.count-tt.want {
				t.Errorf("%d left and %d pruned, want %d left", len(x.Versions), len(pruned), tt.want)
			}
			if x.holder("OLDEST") == nil || x.holder(current) == nil {
				t.Error("a labelled version is gone")
			}
			for i, id := range pruned {
				if id != fmt.Sprint(i+1) {
					t.Errorf("pruned %v, want the oldest", pruned)
					break
				}
			}
		})
	}
}
