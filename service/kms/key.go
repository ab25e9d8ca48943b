package kms

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/internal/xaes"
	"github.com/malote/malote/policy"
	"github.com/malote/malote/service/attached"
	"github.com/malote/malote/store"
)

// key is a stored key. One that comes from the store is shared between requests and must
// not be changed: change works on a copy.
//
// Invariants: the last of Materials is the current one, and none is dropped while the key
// lives; only of Origin EXTERNAL may there be none, or some whose bytes are not there, and
// then the state is PendingImport or that of a deletion; Deletion is set exactly in state
// PendingDeletion; Aliases lists exactly the alias records that target the key.
type key struct {
	ID          string
	Account     string
	Spec        types.KeySpec      `json:",omitempty"` // "" is SYMMETRIC_DEFAULT
	Usage       types.KeyUsageType `json:",omitempty"` // "" is ENCRYPT_DECRYPT
	Region      string
	Description string `json:",omitempty"`
	Created     time.Time
	State       types.KeyState
	Deletion    time.Time `json:",omitzero"`
	Manager     types.KeyManagerType
	Policy      attached.Policy
	Tags        []tag    `json:",omitempty"` // in order of insertion
	Aliases     []string `json:",omitempty"` // with "alias/", sorted
	Materials   []material
	Rotation    *rotation `json:",omitempty"` // nil while automatic rotation is off
	Grants      int       `json:",omitempty"` // how many there are
	Withdrawn   int       `json:",omitempty"` // how many there were

	Origin       types.OriginType `json:",omitempty"` // EXTERNAL, or "" for AWS_KMS
	ImportSecret []byte           `json:",omitempty"` // seals import tokens
	Pending      *material        `json:",omitempty"` // imported, to become current by RotateKeyOnDemand
	Expires      time.Time        `json:",omitzero"`  // when the first imported material does
	MultiRegion  *multiRegion     `json:",omitempty"`
	Window       int              `json:",omitempty"` // days, in state PendingReplicaDeletion

	compiled func() (*compiled, error)
	text     string // the ARN, of a key that was read
	usageAt  string // usagePath, of the same
}

type tag struct{ Key, Value string }

// material is one backing key.
type material struct {
	ID      string // 64 hexadecimal digits
	Key     []byte `json:",omitempty"` // PKCS #8 of an asymmetric key; nil of imported material that is not there
	Created time.Time
	Type    types.RotationType `json:",omitempty"` // how it became current; "" for the first

	ValidTo     time.Time `json:",omitzero"` // of imported material that expires
	Description string    `json:",omitempty"`
}

// rotation is the schedule of automatic rotation.
type rotation struct {
	Days int
	Next time.Time
}

// compiled is what requests need of a key beyond its record, made once per record.
type compiled struct {
	policy           *policy.Source
	materials        []compiledMaterial          // as key.Materials; of a symmetric encryption key
	private          func() (*privateKey, error) // of an asymmetric one
	tags             map[string]string
	conditions       map[string][]string // of every request; not to be changed
	cryptoConditions map[string][]string // of those that use the material
}

type compiledMaterial struct {
	id     [16]byte
	cipher *xaes.Key // nil of material that is not there
}

// Prepare completes a record that was read. What is compiled from it lives as long as the
// record does, so a key in use is parsed once, not once per request.
func (k *key) Prepare() {
	k.text = keyARN(k.Region, k.Account, k.ID)
	k.usageAt = usagePath(k.Account, k.Region, k.ID)
	k.compiled = sync.OnceValues(k.compile)
}

func (k *key) compile() (*compiled, error) {
	document, err := k.Policy.Compile(policy.Key)
	if err != nil {
		return nil, fmt.Errorf("policy of %s: %w", k.arn(), err)
	}
	c := &compiled{
		policy:           &policy.Source{Document: document, Name: "the key policy of " + k.arn()},
		tags:             k.tagMap(),
		conditions:       k.keyConditions(),
		cryptoConditions: k.keyConditions(),
	}
	c.cryptoConditions["kms:EncryptionAlgorithm"] = symmetricDefaultCondition
	if !k.isSymmetric() {
		c.private = sync.OnceValues(k.parseCurrent)
		return c, nil
	}
	for _, m := range k.Materials {
		id, err := hex.DecodeString(m.ID)
		if err != nil || len(id) != sha256.Size {
			return nil, fmt.Errorf("key material id of %s is not 64 hexadecimal digits", k.arn())
		}
		if k.Origin != "" && m.Key == nil {
			c.materials = append(c.materials, compiledMaterial{id: [16]byte(id)})
			continue
		}
		if len(m.Key) != xaes.KeySize {
			return nil, fmt.Errorf("key material of %s has %d bytes", k.arn(), len(m.Key))
		}
		c.materials = append(c.materials, compiledMaterial{[16]byte(id), xaes.New(m.Key)})
	}
	return c, nil
}

// clone returns a copy to change.
func (k *key) clone() *key {
	c := *k
	c.Tags, c.Aliases, c.Materials = slices.Clone(k.Tags), slices.Clone(k.Aliases), slices.Clone(k.Materials)
	if k.Rotation != nil {
		r := *k.Rotation
		c.Rotation = &r
	}
	if k.Pending != nil {
		p := *k.Pending
		c.Pending = &p
	}
	if k.MultiRegion != nil {
		m := *k.MultiRegion
		m.Regions = slices.Clone(m.Regions)
		c.MultiRegion = &m
	}
	c.compiled = sync.OnceValues(c.compile)
	return &c
}

func (k *key) arn() string {
	if k.text != "" {
		return k.text
	}
	return keyARN(k.Region, k.Account, k.ID)
}

// current is the material that encrypts.
func (k *key) current() material { return k.Materials[len(k.Materials)-1] }

// addMaterial makes fresh material the current one.
func (k *key) addMaterial(now time.Time, how types.RotationType) {
	k.addMaterialBytes(randomBytes(xaes.KeySize), now, how)
}

func randomBytes(size int) []byte {
	bytes := make([]byte, size)
	rand.Read(bytes)
	return bytes
}

func (k *key) addMaterialBytes(bytes []byte, now time.Time, how types.RotationType) {
	k.Materials = append(k.Materials, material{ID: k.materialID(bytes), Key: bytes, Created: now, Type: how})
}

// materialID follows from the key's id and the material.
func (k *key) materialID(bytes []byte) string {
	mac := hmac.New(sha256.New, bytes)
	mac.Write([]byte("key material id of " + k.ID))
	return hex.EncodeToString(mac.Sum(nil))
}

// gone reports whether the waiting period of a deletion is over.
func (k *key) gone(now time.Time) bool {
	return k.State == types.KeyStatePendingDeletion && !k.Deletion.After(now)
}

// rotationDue reports whether the key should have new material by now. A key that is not
// enabled waits until it is.
func (k *key) rotationDue(now time.Time) bool {
	return k.Rotation != nil && k.State == types.KeyStateEnabled && !k.Rotation.Next.After(now)
}

func (k *key) rotate(now time.Time) {
	k.addMaterial(now, types.RotationTypeAutomatic)
	k.Rotation.Next = now.AddDate(0, 0, k.Rotation.Days)
}

// notPending is the rule of operations that work on any key but one that is to be deleted.
func (k *key) notPending() error {
	if k.State == types.KeyStatePendingDeletion || k.State == types.KeyStatePendingReplicaDeletion {
		return pendingDeletion(k.arn())
	}
	return nil
}

// usable is the rule of cryptographic operations.
func (k *key) usable() error {
	switch k.State {
	case types.KeyStateDisabled:
		return disabled(k.arn())
	case types.KeyStatePendingImport:
		return pendingImport(k.arn())
	}
	return k.notPending()
}

// metadata is the key as DescribeKey and CreateKey show it.
func (k *key) metadata() *types.KeyMetadata {
	m := &types.KeyMetadata{
		AWSAccountId: aws.String(k.Account),
		KeyId:        aws.String(k.ID),
		Arn:          aws.String(k.arn()),
		CreationDate: aws.Time(k.Created),
		Enabled:      k.State == types.KeyStateEnabled,
		Description:  aws.String(k.Description),
		KeyState:     k.State,
		Origin:       k.origin(),
		KeyManager:   k.Manager,
		MultiRegion:  aws.Bool(k.MultiRegion != nil),
	}
	k.describeSpec(m)
	k.describeMaterial(m)
	k.describeRegions(m)
	if !k.Deletion.IsZero() {
		m.DeletionDate = aws.Time(k.Deletion)
	}
	return m
}

// alias is a stored alias.
type alias struct {
	Name    string // with "alias/"
	KeyID   string
	Created time.Time
	Updated time.Time
}

func keyPath(account, region, id string) string {
	return "kms/" + account + "/" + region + "/key/" + id
}
func keyPrefix(account, region string) string   { return keyPath(account, region, "") }
func aliasPrefix(account, region string) string { return "kms/" + account + "/" + region + "/alias/" }

func (k *key) path() string { return keyPath(k.Account, k.Region, k.ID) }

func aliasPath(account, region, name string) string {
	return aliasPrefix(account, region) + strings.TrimPrefix(name, "alias/")
}

const duePrefix = "kms/due/"

// duePath is the entry that leads deleteDue to the key. Entries sort by time.
func (k *key) duePath() string {
	return duePrefix + fmt.Sprintf("%020d", k.Deletion.UnixMilli()) + "/" + k.Account + "/" + k.Region + "/" + k.ID
}

// remove leaves nothing of the key: not its material, not its aliases.
func (s *Service) remove(tx store.Tx, k *key) error {
	for _, name := range k.Aliases {
		if err := s.aliases.Delete(tx, aliasPath(k.Account, k.Region, name)); err != nil {
			return err
		}
	}
	if !k.Deletion.IsZero() {
		if err := tx.Delete(k.duePath()); err != nil {
			return err
		}
	}
	if !k.Expires.IsZero() {
		if err := tx.Delete(k.expiryPath()); err != nil {
			return err
		}
	}
	if err := s.leaveRegions(tx, k); err != nil {
		return err
	}
	if err := s.usages.Delete(tx, k.usagePath()); err != nil {
		return err
	}
	return s.keys.Delete(tx, k.path())
}

// sameRights reports whether k gives everybody the rights that o gives, or more by grants.
func (k *key) sameRights(o *key) bool {
	return k.Policy.Text == o.Policy.Text && maps.Equal(k.Policy.IDs, o.Policy.IDs) && slices.Equal(k.Tags, o.Tags) && slices.Equal(k.Aliases, o.Aliases) && k.Withdrawn == o.Withdrawn
}

// errRights says that what a decision rests on changed before the write.
var errRights = errors.New("kms: the key's policy, tags, aliases or grants changed meanwhile")

const attempts = 10

// change replaces the stored key by what fn makes of a copy, and returns it. Its error
// when the key has gone meanwhile is that there is none. The caller was allowed u on k, and
// is asked about again if k's policy, tags or aliases are others by now, or grants are gone.
func (s *Service) change(ctx context.Context, u use, k *key, fn func(tx store.Tx, k *key) error) (*key, error) {
	for range attempts {
		var moved *key
		changed, err := s.changeAnyway(ctx, k, func(tx store.Tx, now *key) error {
			if moved = nil; !now.sameRights(k) {
				moved = now
				return errRights
			}
			return fn(tx, now)
		})
		if moved == nil || !errors.Is(err, errRights) {
			return changed, err
		}
		k = moved
		if err := s.authorizeKey(ctx, u, k, ""); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("changing key %s: %w", k.ID, errRights)
}

// changeAnyway is change on nobody's behalf.
func (s *Service) changeAnyway(ctx context.Context, k *key, fn func(tx store.Tx, k *key) error) (*key, error) {
	var changed *key
	err := s.store.Update(ctx, func(tx store.Tx) error {
		now, err := s.keys.Get(tx, k.path())
		if errors.Is(err, store.ErrNotFound) || err == nil && now.gone(s.now()) {
			return keyNotFound(k.arn())
		}
		if err != nil {
			return fmt.Errorf("reading key %s: %w", k.ID, err)
		}
		changed = now.clone()
		if err := fn(tx, changed); err != nil {
			return err
		}
		return s.keys.Put(tx, changed.path(), changed)
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// settle does what time has made due on k: a deletion, which gives store.ErrNotFound, or
// a rotation.
func (s *Service) settle(ctx context.Context, k *key) (*key, error) {
	now := s.now()
	switch {
	case k.gone(now):
		if err := s.removeGone(ctx, k.path()); err != nil {
			return nil, err
		}
		return nil, store.ErrNotFound
	case k.expired(now):
		return s.changeAnyway(ctx, k, s.expire)
	case k.rotationDue(now):
		return s.rotateDue(ctx, k)
	}
	return k, nil
}

// removeGone deletes the key at path if its deletion is still due.
func (s *Service) removeGone(ctx context.Context, path string) error {
	for more := true; more; {
		var err error
		if more, err = s.dropGrants(ctx, path); err != nil {
			return err
		}
	}
	return s.store.Update(ctx, func(tx store.Tx) error {
		k, err := s.keys.Get(tx, path)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil || !k.gone(s.now()) {
			return err
		}
		return s.remove(tx, k)
	})
}

// due returns the paths of the keys that have something due, from the entries below prefix.
func (s *Service) due(ctx context.Context, prefix string) (paths []string, err error) {
	limit := s.now().UnixMilli()
	err = s.store.View(ctx, func(tx store.Tx) error {
		paths = nil
		for entry, err := range tx.Scan(prefix, "") {
			if err != nil {
				return err
			}
			parts := strings.Split(strings.TrimPrefix(entry.Key, prefix), "/")
			if len(parts) != 4 {
				return fmt.Errorf("kms: strange entry %q", entry.Key)
			}
			if at, err := strconv.ParseInt(parts[0], 10, 64); err != nil || at > limit {
				return err
			}
			paths = append(paths, keyPath(parts[1], parts[2], parts[3]))
		}
		return nil
	})
	return paths, err
}

func (s *Service) deleteDue(ctx context.Context) error {
	paths, err := s.due(ctx, duePrefix)
	if err != nil {
		return fmt.Errorf("looking for keys to delete: %w", err)
	}
	var errs []error // one that cannot be removed does not keep the others
	for _, path := range paths {
		if err := s.removeGone(ctx, path); err != nil {
			errs = append(errs, fmt.Errorf("deleting a key: %w", err))
		}
	}
	return errors.Join(errs...)
}
