package kms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	"github.com/malote/malote/store"
)

// Whatever is done with a multi-Region key, in whatever order: what was ever encrypted
// opens in every Region where the key is enabled, the keys of the set agree on what they
// share, and the store has exactly the entries that follow from the records.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			anyOrder(t, mathrand.New(mathrand.NewPCG(seed, 1)), private)
		})
	}
}

func anyOrder(t *testing.T, random *mathrand.Rand, private *rsa.PrivateKey) {
	s := newTestService(t)
	regions := []string{"us-east-1", "eu-west-1", "us-west-2"}
	origin := []types.OriginType{types.OriginTypeAwsKms, types.OriginTypeExternal}[random.IntN(2)]
	root := rootUser(t.Context())
	made, err := s.CreateKey(root, &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Origin: origin})
	if err != nil {
		t.Fatal(err)
	}
	id := made.KeyMetadata.KeyId
	materials := [][]byte{make([]byte, 32), make([]byte, 32), make([]byte, 32)}
	for _, m := range materials {
		rand.Read(m)
	}
	var blobs [][]byte
	var done []string
	for range 120 {
		ctx := inRegion(root, regions[random.IntN(len(regions))])
		other := regions[random.IntN(len(regions))]
		name, err := step(ctx, s, random, id, other, materials, private, &blobs)
		var api smithy.APIError
		if err != nil && !errors.As(err, &api) {
			t.Fatalf("%s: %v\nafter %s", name, err, strings.Join(done, " "))
		}
		if err == nil {
			done = append(done, name)
		}
		for _, wrong := range violations(ctx, s, regions, *id, blobs) {
			t.Errorf("%s: %s\nafter %s", name, wrong, strings.Join(done, " "))
		}
		if t.Failed() {
			return
		}
	}
}

// step does something. What it is refused is as good as what it does.
func step(ctx context.Context, s *testService, random *mathrand.Rand, id *string, other string, materials [][]byte, private *rsa.PrivateKey, blobs *[][]byte) (name string, err error) {
	switch random.IntN(16) {
	case 0, 1:
		_, err = s.ReplicateKey(ctx, &kms.ReplicateKeyInput{KeyId: id, ReplicaRegion: &other})
		return "replicate", err
	case 2:
		_, err = s.UpdatePrimaryRegion(ctx, &kms.UpdatePrimaryRegionInput{KeyId: id, PrimaryRegion: &other})
		return "primary", err
	case 3, 4:
		_, err = s.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: id})
		return "rotate", err
	case 5:
		_, err = s.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: id, RotationPeriodInDays: aws.Int32(90)})
		return "schedule", err
	case 6:
		_, err = s.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id})
		return "disable", err
	case 7:
		_, err = s.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id})
		return "enable", err
	case 8:
		if random.IntN(3) == 0 {
			_, err = s.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)})
		}
		return "delete", err
	case 9:
		_, err = s.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: id})
		return "cancel", err
	case 10:
		s.clock = s.clock.Add(time.Duration(random.IntN(30*24)) * time.Hour)
		if random.IntN(2) == 0 {
			err = Maintain(ctx, s.Service)
		}
		return "wait", err
	case 11:
		_, err = s.DeleteImportedKeyMaterial(ctx, &kms.DeleteImportedKeyMaterialInput{KeyId: id})
		return "withdraw", err
	case 12:
		_, err = s.CreateGrant(ctx, &kms.CreateGrantInput{
			KeyId: id, Name: aws.String(fmt.Sprint(random.IntN(3))), Operations: []types.GrantOperation{"Decrypt"},
			GranteePrincipal: aws.String("arn:aws:iam::123456789012:user/bob"), RetiringPrincipal: aws.String("arn:aws:iam::123456789012:user/bob"),
		})
		return "grant", err
	case 13:
		list, err := s.ListGrants(ctx, &kms.ListGrantsInput{KeyId: id})
		if err == nil && len(list.Grants) > 0 {
			_, err = s.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: id, GrantId: list.Grants[0].GrantId})
		}
		return "revoke", err
	case 14:
		out, err := s.Encrypt(ctx, &kms.EncryptInput{KeyId: id, Plaintext: []byte("plaintext")})
		if err == nil {
			*blobs = append(*blobs, out.CiphertextBlob)
		}
		return "encrypt", err
	}
	k, err := s.authorizedKey(ctx, use{action: "kms:ImportKeyMaterial", keyID: *id})
	if err != nil || k.Origin == "" {
		return "import", err
	}
	token, err := k.sealImportToken(importToken{Until: s.clock.Add(time.Hour), Algorithm: types.AlgorithmSpecRsaesOaepSha256}, private)
	if err != nil {
		return "import", err
	}
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &private.PublicKey, materials[random.IntN(len(materials))], nil)
	if err != nil {
		return "import", err
	}
	in := &kms.ImportKeyMaterialInput{KeyId: id, ImportToken: token, EncryptedKeyMaterial: wrapped, ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire}
	in.ImportType = []types.ImportType{"", types.ImportTypeNewKeyMaterial, types.ImportTypeExistingKeyMaterial}[random.IntN(3)]
	if random.IntN(2) == 0 {
		in.ExpirationModel, in.ValidTo = types.ExpirationModelTypeKeyMaterialExpires, aws.Time(s.clock.Add(time.Duration(1+random.IntN(60*24))*time.Hour))
	}
	_, err = s.ImportKeyMaterial(ctx, in)
	return "import", err
}

// violations says what is not as it should be.
func violations(ctx context.Context, s *testService, regions []string, id string, blobs [][]byte) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, region := range regions {
		out, err := s.DescribeKey(inRegion(ctx, region), &kms.DescribeKeyInput{KeyId: &id})
		if err != nil || out.KeyMetadata.KeyState != types.KeyStateEnabled {
			continue
		}
		for _, blob := range blobs {
			if _, err := s.Decrypt(inRegion(ctx, region), &kms.DecryptInput{CiphertextBlob: blob}); err != nil {
				complain("decrypting in %s: %v", region, err)
			}
		}
	}
	err := s.store.View(ctx, func(tx store.Tx) error {
		want := map[string]bool{}
		var first *key
		var there []string
		for _, region := range regions {
			k, err := s.keys.Get(tx, keyPath(testAccount, region, id))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			there = append(there, region)
			want[k.path()] = true
			if !k.Expires.IsZero() {
				want[k.expiryPath()] = true
			}
			var expires time.Time
			k.eachImported(func(m *material) {
				if !m.ValidTo.IsZero() && (expires.IsZero() || m.ValidTo.Before(expires)) {
					expires = m.ValidTo
				}
				if m.Key == nil && !m.ValidTo.IsZero() {
					complain("%s: material %s is gone and still to expire", region, m.ID)
				}
			})
			if !expires.Equal(k.Expires) {
				complain("%s: expires %v, said to be %v", region, expires, k.Expires)
			}
			if (k.State == types.KeyStatePendingDeletion) != !k.Deletion.IsZero() {
				complain("%s: state %s, to be deleted %v", region, k.State, k.Deletion)
			}
			switch _, err := tx.Get(k.usagePath()); {
			case err == nil: // it was used
				want[k.usagePath()] = true
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
			if !k.Deletion.IsZero() {
				want[k.duePath()] = true
			}
			complete := len(k.Materials) > 0 && !slices.ContainsFunc(k.Materials, func(m material) bool { return m.Key == nil })
			if k.notPending() == nil && complete == (k.State == types.KeyStatePendingImport) {
				complain("%s: state %s, all material there: %t", region, k.State, complete)
			}
			grants := 0
			for row, err := range s.grants.Scan(tx, grantPrefix(testAccount, region, id), "") {
				if err != nil {
					return err
				}
				g := row.Value
				grants++
				want[g.path()], want[g.granteePath()], want[g.retirablePath()], want[g.samePath()] = true, true, true, true
			}
			if grants != k.Grants {
				complain("%s: %d grants, counted %d", region, grants, k.Grants)
			}
			if first == nil {
				first = k
			}
			if a, b := shared(first), shared(k); a != b {
				complain("%s has %s, %s has %s", first.Region, a, region, b)
			}
		}
		if first != nil {
			slices.Sort(there)
			if !slices.Equal(there, first.MultiRegion.Regions) || !slices.Contains(there, first.MultiRegion.Primary) {
				complain("the set is said to be %+v, and is %v", *first.MultiRegion, there)
			}
		}
		for entry, err := range tx.Scan("kms/", "") {
			if err != nil {
				return err
			}
			if !want[entry.Key] {
				complain("entry %s is of nothing", entry.Key)
			}
			delete(want, entry.Key)
		}
		for missing := range want {
			complain("entry %s is missing", missing)
		}
		return nil
	})
	if err != nil {
		complain("%v", err)
	}
	return wrong
}

// shared is what all keys of a set have in common.
func shared(k *key) string {
	text := fmt.Sprintf("%+v", *k.MultiRegion)
	for _, m := range k.Materials {
		text += " " + m.ID[:8] + string(m.Type)
	}
	if k.Pending != nil {
		text += " pending " + k.Pending.ID[:8]
	}
	if k.Rotation != nil {
		text += fmt.Sprintf(" every %d days from %v", k.Rotation.Days, k.Rotation.Next)
	}
	return text
}
