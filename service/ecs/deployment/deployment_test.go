package deployment

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// tasks reads one task a word: H healthy, S starting, P pending, U unhealthy, X stopping; in
// lower case it is outdated; a "!" behind it is protection.
func tasks(text string) (all []Task) {
	phases := map[byte]Phase{'h': Healthy, 's': Starting, 'p': Pending, 'u': Unhealthy, 'x': Stopping}
	for i, word := range strings.Fields(text) {
		lower := strings.ToLower(word)
		all = append(all, Task{
			ID: fmt.Sprintf("%s%d", word, i), Host: fmt.Sprint("host", i), Phase: phases[lower[0]],
			Outdated: word[0] == lower[0], Protected: strings.HasSuffix(word, "!"),
		})
	}
	return all
}

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name              string
		desired, min, max int
		tasks             string
		change            func(*State)
		start             int
		stop              string // the first letters
		stuck             bool
	}{
		{"from nothing", 3, 100, 200, "", nil, 3, "", false},
		{"content", 2, 100, 200, "H H", nil, 0, "", false},
		{"one died", 3, 100, 200, "H H", nil, 1, "", false},
		{"pending is enough", 2, 100, 200, "P S", nil, 0, "", false},
		{"scaled in: pending first", 1, 100, 200, "H P S", nil, 0, "P S", false},
		{"scaled to nothing", 0, 100, 200, "H h p", nil, 0, "H p h", false},
		{"a deployment starts the new first", 4, 100, 200, "h h h h", nil, 4, "", false},
		{"and waits until they are well", 4, 100, 200, "h h h h S S P P", nil, 0, "", false},
		{"one new, one old goes", 4, 100, 200, "h h h h H S P P", nil, 0, "h", false},
		{"all new, all old go", 2, 100, 200, "h h H H", nil, 0, "h h", false},
		{"half may go when there is no room", 4, 50, 100, "h h h h", nil, 2, "h h", false},
		{"no more than the floor", 3, 50, 100, "h h h", nil, 1, "h", false},
		{"minimum 0, maximum 100", 1, 0, 100, "h", nil, 1, "h", false},
		{"100 and 100 is stuck", 2, 100, 100, "h h", nil, 0, "", true},
		{"the ceiling is rounded down", 3, 100, 150, "h h h", nil, 1, "", false},
		{"a host without room has the old make it", 2, 50, 200, "h h", func(s *State) { s.Unplaced = 2 }, 2, "h", false},
		{"but not below the floor", 2, 100, 200, "h h", func(s *State) { s.Unplaced = 2 }, 2, "", false},
		{"old ones that serve nobody go", 2, 100, 200, "h p u", nil, 2, "u p", false},
		{"old ones that have just started may serve", 2, 100, 200, "s s", nil, 2, "", false},
		{"and stay until the new do", 2, 100, 200, "s s H S", nil, 0, "s", false},
		{"unhealthy: a replacement first", 2, 100, 200, "H U", nil, 1, "", false},
		{"then it goes", 2, 100, 200, "H H U", nil, 0, "U", false},
		{"no room for a replacement", 2, 100, 100, "H U", nil, 1, "U", false},
		{"halted keeps what serves", 2, 50, 200, "h h", func(s *State) { s.Halted = true }, 0, "", false},
		{"failed keeps all", 2, 100, 200, "h h P", func(s *State) { s.Failed, s.Halted = true, true }, 0, "", false},
		{"failed, and nothing wanted", 0, 100, 200, "h P", func(s *State) { s.Failed, s.Halted = true, true }, 0, "P h", false},
		{"protected ones stay", 1, 100, 200, "H! H", nil, 0, "H", false},
		{"stopping ones do not count", 2, 100, 200, "X x H", nil, 1, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &State{Desired: tt.desired, MinimumHealthy: tt.min, Maximum: tt.max, Tasks: tasks(tt.tasks)}
			if tt.change != nil {
				tt.change(s)
			}
			p := Decide(s)
			var stop []string
			for _, task := range p.Stop {
				stop = append(stop, task.ID[:1])
			}
			if got := strings.Join(stop, " "); p.Start != tt.start || got != tt.stop || p.Stuck != tt.stuck {
				t.Errorf("Decide = start %d, stop %q, stuck %v; want %d, %q, %v", p.Start, got, p.Stuck, tt.start, tt.stop, tt.stuck)
			}
		})
	}
}

func TestDaemon(t *testing.T) {
	for _, tt := range []struct {
		name, hosts, tasks string
		min                int
		on, stop           string
	}{
		{"one on each", "host0 host1", "", 0, "host0 host1", ""},
		{"content", "host0 host1", "H H", 0, "", ""},
		{"a new host", "host0 host1 host2", "H H", 0, "host2", ""},
		{"a host that drains", "host0", "H H", 0, "", "H1"},
		{"a deployment, all at once", "host0 host1", "h h", 0, "", "h0 h1"},
		{"within the minimum", "host0 host1", "h h", 50, "", "h0"},
		{"the place is not free yet", "host0", "X", 0, "", ""},
		{"an unhealthy one", "host0", "U", 100, "", "U0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Decide(&State{Daemon: true, Hosts: strings.Fields(tt.hosts), MinimumHealthy: tt.min, Maximum: 100, Tasks: tasks(tt.tasks)})
			var stop []string
			for _, task := range p.Stop {
				stop = append(stop, task.ID)
			}
			if on := strings.Join(p.On, " "); on != tt.on || strings.Join(stop, " ") != tt.stop || p.Start != len(p.On) {
				t.Errorf("Decide = on %q, stop %q; want %q, %q", on, stop, tt.on, tt.stop)
			}
		})
	}
}

// Whatever the order of events, the bounds hold, and it ends with what was asked for.
func TestBoundsHoldAndItConverges(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := &State{Desired: r.IntN(9), MinimumHealthy: []int{0, 33, 50, 100}[r.IntN(4)], Maximum: []int{100, 150, 200}[r.IntN(3)]}
		if Ceiling(s.Desired, s.Maximum) <= Floor(s.Desired, s.MinimumHealthy) {
			continue // stuck by request
		}
		for i := range r.IntN(12) {
			s.Tasks = append(s.Tasks, Task{ID: fmt.Sprint("old", i), Phase: Phase(r.IntN(4)), Outdated: r.IntN(2) == 0})
		}
		started := 0
		for round := 0; ; round++ {
			if round == 500 {
				t.Fatalf("seed %d: %d wanted, still %+v", seed, s.Desired, s.Tasks)
			}
			before, alive := 0, 0
			for _, task := range s.Tasks {
				if task.Phase == Healthy {
					before++
				}
				if task.Phase != Stopping {
					alive++
				}
			}
			p := Decide(s)
			stopped := map[string]bool{}
			after := before
			for _, task := range p.Stop {
				stopped[task.ID] = true
				if task.Phase == Healthy {
					after--
				}
			}
			if floor := Floor(s.Desired, s.MinimumHealthy); after < before && after < floor {
				t.Fatalf("seed %d: %d healthy after the plan, %d before, the floor is %d", seed, after, before, floor)
			}
			if alive = alive - len(p.Stop) + p.Start; p.Start > 0 && alive > Ceiling(s.Desired, s.Maximum) {
				t.Fatalf("seed %d: %d tasks, the ceiling is %d", seed, alive, Ceiling(s.Desired, s.Maximum))
			}
			for i := range s.Tasks {
				if stopped[s.Tasks[i].ID] {
					s.Tasks[i].Phase = Stopping
				}
			}
			for range p.Start {
				started++
				s.Tasks = append(s.Tasks, Task{ID: fmt.Sprint("new", started)})
			}
			// Life goes on: a task or two moves.
			moved := false
			for i := 0; i < len(s.Tasks); i++ {
				if r.IntN(2) == 0 && len(s.Tasks) > 1 {
					continue
				}
				switch s.Tasks[i].Phase {
				case Pending, Starting:
					s.Tasks[i].Phase++
					moved = true
				case Stopping:
					s.Tasks = append(s.Tasks[:i], s.Tasks[i+1:]...)
					i--
					moved = true
				}
			}
			good := 0
			for _, task := range s.Tasks {
				if task.Phase == Healthy && !task.Outdated {
					good++
				}
			}
			if !moved && good == s.Desired && len(s.Tasks) == s.Desired {
				break
			}
		}
	}
}

func TestThresholdAndDelay(t *testing.T) {
	for desired, want := range map[int]int{0: 3, 1: 3, 25: 13, 400: 200, 800: 200} {
		if got := Threshold(desired); got != want {
			t.Errorf("Threshold(%d) = %d, want %d", desired, got, want)
		}
	}
	last := time.Duration(-1)
	for n := range 100 {
		d := Delay(n)
		if d < last || d > 15*time.Minute {
			t.Errorf("Delay(%d) = %s after %s", n, d, last)
		}
		last = d
	}
	if last != 15*time.Minute {
		t.Errorf("the longest delay = %s", last)
	}
}
