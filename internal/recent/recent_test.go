package recent_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/malote/malote/internal/recent"
)

func TestCache(t *testing.T) {
	t.Parallel()
	c := recent.New[int](1600, 1<<20)
	for i := range 100 {
		c.Put(fmt.Sprint(i), i, 1)
	}
	c.Put("7", 77, 1)
	c.Remove("8")
	for i := range 100 {
		got, ok := c.Get(fmt.Sprint(i))
		want := i
		if i == 7 {
			want = 77
		}
		if ok != (i != 8) || ok && got != want {
			t.Errorf("Get(%d) = %d, %v", i, got, ok)
		}
	}
}

func held(c *recent.Cache[int], n int) (held int) {
	for i := range n {
		if _, ok := c.Get(fmt.Sprint(i)); ok {
			held++
		}
	}
	return held
}

func TestBounds(t *testing.T) {
	t.Parallel()
	few := recent.New[int](160, 1<<20)
	small := recent.New[int](1<<20, 16*1000)
	for i := range 10_000 {
		few.Put(fmt.Sprint(i), i, 1)
		small.Put(fmt.Sprint(i), i, 95)
	}
	if got := held(few, 10_000); got != 160 {
		t.Errorf("%d entries held, want 160", got)
	}
	if got := held(small, 10_000); got < 100 || got > 170 {
		t.Errorf("%d entries of some 100 bytes held in 16,000", got)
	}
	small.Put("large", 1, 2000)
	if _, ok := small.Get("large"); ok {
		t.Error("holds a value larger than its share")
	}
}

// What is read all the time survives what is put once and never read.
func TestKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	c := recent.New[int](320, 1<<20)
	c.Put("hot", 1, 1)
	for i := range 10_000 {
		if _, ok := c.Get("hot"); !ok {
			t.Fatalf("gone after %d others", i)
		}
		c.Put(fmt.Sprint(i), i, 1)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	c := recent.New[int](64, 1<<20)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				key := i * (w + 1) % 100
				if got, ok := c.Get(fmt.Sprint(key)); ok && got != key {
					t.Errorf("Get(%d) = %d", key, got)
				}
				c.Put(fmt.Sprint(key), key, 1)
				if i%17 == 0 {
					c.Remove(fmt.Sprint(key))
				}
			}
		})
	}
	wg.Wait()
}

// A full cache takes what is asked for twice.
func TestWanted(t *testing.T) {
	t.Parallel()
	c := recent.New[int](32, 1<<20)
	for i := range 1000 {
		key := strconv.Itoa(i)
		if c.Wanted(key) {
			c.Put(key, i, 1)
		}
	}
	if first := c.Wanted("once"); first || !c.Wanted("once") {
		t.Error("a full cache wants a key the first time, or not the second")
	}
	if !recent.New[int](32, 1<<20).Wanted("once") {
		t.Error("an empty cache does not want a key")
	}
}
