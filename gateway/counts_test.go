package gateway

import (
	"strconv"
	"testing"
)

// Codes are few. Should a service take one from elsewhere, they stay few.
func TestCodesAreBounded(t *testing.T) {
	t.Parallel()
	counts, o := new(Counts), new(outcomes)
	counts.add(o)
	for i := range 1000 {
		o.count("Code" + strconv.Itoa(i))
	}
	o.count("Code0")
	lines, sum := 0, uint64(0)
	for c := range counts.All() {
		lines++
		sum += c.N
		if c.Code == "Code0" && c.N != 2 || c.Code == "other" && c.N != 1000-maxCodes {
			t.Errorf("%+v", c)
		}
	}
	if lines != maxCodes+1 || sum != 1001 {
		t.Errorf("%d codes for %d requests, want %d for 1001", lines, sum, maxCodes+1)
	}
}
