package ssm

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/malote/malote/store"
)

// Parameters that an account has in a Region, by tier.
//
// https://docs.aws.amazon.com/general/latest/gr/ssm.html
var quotas = map[types.ParameterTier]int{types.ParameterTierStandard: 10_000, types.ParameterTierAdvanced: 100_000}

// A place that was full is counted again after this time, or once a parameter was deleted.
const fullFor = time.Minute

// counter keeps accounts to their quotas without counting for each parameter that is made:
// a count gives room for half of what is left, and only once that is used up is counted
// again. Two control planes that do so stay within the quota together; more of them, or
// requests at the same moment, may pass it by a few.
type counter struct {
	mu     sync.Mutex // guards places; never held over I/O
	places map[place]*room
}

type place struct {
	account, region string
	tier            types.ParameterTier
}

type room struct {
	left    int
	changes int       // of left, but for those by one
	full    time.Time // when the place was found to be
}

// take takes room for one parameter more, and reports whether there was any.
func (s *Service) take(ctx context.Context, r *ref, tier types.ParameterTier) (bool, error) {
	at, c := place{r.account, r.region, tier}, &s.counter
	for {
		c.mu.Lock()
		here := c.places[at]
		if here == nil {
			here = &room{}
			c.places[at] = here
		}
		switch {
		case here.left > 0:
			here.left--
			c.mu.Unlock()
			return true, nil
		case !here.full.IsZero() && s.now().Sub(here.full) < fullFor:
			c.mu.Unlock()
			return false, nil
		}
		changes := here.changes
		c.mu.Unlock()

		n, err := s.count(ctx, at)
		if err != nil {
			return false, err
		}
		c.mu.Lock()
		if here.changes == changes { // else another request counted meanwhile
			here.changes++
			here.left, here.full = (s.quotas[tier]-n+1)/2, time.Time{}
			if n >= s.quotas[tier] {
				here.left, here.full = 0, s.now()
			}
		}
		c.mu.Unlock()
	}
}

// gaveBack says that a parameter of the place is gone.
func (s *Service) gaveBack(r *ref, tier types.ParameterTier) {
	s.counter.mu.Lock()
	defer s.counter.mu.Unlock()
	if here := s.counter.places[place{r.account, r.region, tier}]; here != nil {
		here.full = time.Time{}
	}
}

func (s *Service) count(ctx context.Context, at place) (n int, err error) {
	err = s.store.View(ctx, func(tx store.Tx) error {
		n = 0
		for row, err := range s.parameters.Scan(tx, prefix(at.account, at.region), "") {
			if err != nil {
				return err
			}
			if row.Value.Current.Tier == at.tier {
				n++
			}
		}
		return nil
	})
	return n, err
}

// withinQuota has v take its room, if it needs any. Intelligent-Tiering makes it an
// advanced one when the account may have no more of the standard tier.
func (s *Service) withinQuota(ctx context.Context, r *ref, existing *parameter, asked types.ParameterTier, v *version) error {
	if existing != nil && existing.Current.Tier == v.Tier {
		return nil
	}
	ok, err := s.take(ctx, r, v.Tier)
	if err == nil && !ok && asked == types.ParameterTierIntelligentTiering && v.Tier == types.ParameterTierStandard {
		v.Tier = types.ParameterTierAdvanced
		ok, err = s.take(ctx, r, v.Tier)
	}
	if err == nil && !ok {
		return parameterLimit()
	}
	return err
}
