package kms

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/store"
)

// multiRegion says which Regions have a key with this id and material. Every record of the
// set says the same.
type multiRegion struct {
	Primary string
	Regions []string // sorted, the primary's among them
}

// makePrimary turns a new key into the primary of a set of its own.
func (k *key) makePrimary() {
	var id [16]byte
	rand.Read(id[:])
	k.ID = fmt.Sprintf("mrk-%x", id)
	k.MultiRegion = &multiRegion{Primary: k.Region, Regions: []string{k.Region}}
	for i := range k.Materials {
		k.Materials[i].ID = k.materialID(k.Materials[i].Key)
	}
}

func (k *key) isReplica() bool { return k.MultiRegion != nil && k.MultiRegion.Primary != k.Region }

func (k *key) hasReplicas() bool {
	return k.MultiRegion != nil && !k.isReplica() && len(k.MultiRegion.Regions) > 1
}

func (k *key) regionType() types.MultiRegionKeyType {
	if k.isReplica() {
		return types.MultiRegionKeyTypeReplica
	}
	return types.MultiRegionKeyTypePrimary
}

// describeRegions adds to m what a multi-Region key shows.
func (k *key) describeRegions(m *types.KeyMetadata) {
	if k.MultiRegion == nil {
		return
	}
	in := func(region string) types.MultiRegionKey {
		return types.MultiRegionKey{Arn: aws.String(keyARN(region, k.Account, k.ID)), Region: aws.String(region)}
	}
	primary := in(k.MultiRegion.Primary)
	m.MultiRegionConfiguration = &types.MultiRegionConfiguration{
		MultiRegionKeyType: k.regionType(), PrimaryKey: &primary, ReplicaKeys: []types.MultiRegionKey{},
	}
	for _, region := range k.MultiRegion.Regions {
		if region != k.MultiRegion.Primary {
			m.MultiRegionConfiguration.ReplicaKeys = append(m.MultiRegionConfiguration.ReplicaKeys, in(region))
		}
	}
}

// related returns copies of the other keys of k's set.
func (s *Service) related(tx store.Tx, k *key) ([]*key, error) {
	if k.MultiRegion == nil {
		return nil, nil
	}
	var others []*key
	for _, region := range k.MultiRegion.Regions {
		if region == k.Region {
			continue
		}
		other, err := s.keys.Get(tx, keyPath(k.Account, region, k.ID))
		if err != nil {
			return nil, fmt.Errorf("reading key %s in %s: %w", k.ID, region, err)
		}
		others = append(others, other.clone())
	}
	return others, nil
}

// share gives the replicas of k, a primary key that was changed, what they share with it.
// Of imported material that is which there is: the bytes come with an import of their own.
func (s *Service) share(tx store.Tx, k *key) error {
	others, err := s.related(tx, k)
	if err != nil {
		return err
	}
	for _, other := range others {
		regions := *k.MultiRegion
		regions.Regions = slices.Clone(regions.Regions)
		other.MultiRegion, other.Rotation = &regions, nil
		if k.Rotation != nil {
			r := *k.Rotation
			other.Rotation = &r
		}
		if k.Origin == "" {
			other.Materials = slices.Clone(k.Materials)
		} else if err := s.shareImported(tx, other, k); err != nil {
			return err
		}
		if err := s.keys.Put(tx, other.path(), other); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) shareImported(tx store.Tx, replica, primary *key) error {
	own := slices.Clone(replica.Materials)
	if replica.Pending != nil {
		own = append(own, *replica.Pending)
	}
	as := func(m material) material {
		m.Key, m.ValidTo, m.Description = nil, time.Time{}, ""
		for _, o := range own {
			if o.ID == m.ID {
				m.Key, m.ValidTo, m.Description = o.Key, o.ValidTo, o.Description
			}
		}
		return m
	}
	replica.Materials = nil
	for _, m := range primary.Materials {
		replica.Materials = append(replica.Materials, as(m))
	}
	replica.Pending = nil
	if primary.Pending != nil {
		pending := as(*primary.Pending)
		replica.Pending = &pending
	}
	replica.settleImport()
	return s.indexExpiry(tx, replica)
}

// leaveRegions has the others of k's set forget k, which is being deleted. The waiting
// period of a primary whose last replica this was begins.
func (s *Service) leaveRegions(tx store.Tx, k *key) error {
	others, err := s.related(tx, k)
	if err != nil {
		return err
	}
	for _, other := range others {
		other.MultiRegion.Regions = slices.DeleteFunc(other.MultiRegion.Regions, func(region string) bool { return region == k.Region })
		if other.State == types.KeyStatePendingReplicaDeletion && !other.hasReplicas() {
			other.State = types.KeyStatePendingDeletion
			other.Deletion = s.now().Add(time.Duration(other.Window) * 24 * time.Hour)
			other.Window = 0
			if err := tx.Put(other.duePath(), []byte{1}); err != nil {
				return err
			}
		}
		if err := s.keys.Put(tx, other.path(), other); err != nil {
			return err
		}
	}
	return nil
}

// primaryOf returns a copy of the primary key of k's set, which is k when it is one or has
// no set.
func (s *Service) primaryOf(tx store.Tx, k *key) (*key, error) {
	if !k.isReplica() {
		return k, nil
	}
	primary, err := s.keys.Get(tx, keyPath(k.Account, k.MultiRegion.Primary, k.ID))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("the primary of %s is not in %s", k.arn(), k.MultiRegion.Primary)
	}
	if err != nil {
		return nil, err
	}
	return primary.clone(), nil
}
