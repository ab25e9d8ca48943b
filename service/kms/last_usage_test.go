package kms

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
	"github.com/malote/malote/caller"
	"github.com/malote/malote/store"
)

// lastUsage fails the test unless op and when are what GetKeyLastUsage tells of a key.
func lastUsage(t *testing.T, s *Service, id *string, op types.KeyLastUsageTrackingOperation, when time.Time) {
	t.Helper()
	out, err := s.GetKeyLastUsage(rootUser(t.Context()), &kms.GetKeyLastUsageInput{KeyId: id})
	if err != nil {
		t.Fatal(err)
	}
	if *out.KeyId != *id || !out.KeyCreationDate.Equal(*out.TrackingStartDate) {
		t.Errorf("%s, made %v, tracked since %v", *out.KeyId, out.KeyCreationDate, out.TrackingStartDate)
	}
	u := out.KeyLastUsage
	switch {
	case op == "":
		if *u != (types.KeyLastUsageData{}) {
			t.Errorf("%+v of a key that was not used", u)
		}
	case u.Operation != op || u.Timestamp == nil || !u.Timestamp.Equal(when) || u.KmsRequestId == nil || *u.KmsRequestId != "test" || u.CloudTrailEventId != nil:
		t.Errorf("%s at %v, want %s at %v", u.Operation, u.Timestamp, op, when)
	}
}

// Requests write nothing; what was written an hour ago at the latest survives.
func TestGetKeyLastUsage(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	create := func(spec types.KeySpec, usage types.KeyUsageType) *string {
		made, err := s.CreateKey(ctx, &kms.CreateKeyInput{KeySpec: spec, KeyUsage: usage})
		if err != nil {
			t.Fatal(err)
		}
		return made.KeyMetadata.Arn
	}
	id, other := create("HMAC_256", "GENERATE_VERIFY_MAC"), create("", "")
	mac := func() {
		t.Helper()
		if _, err := s.GenerateMac(ctx, &kms.GenerateMacInput{KeyId: id, MacAlgorithm: "HMAC_SHA_256", Message: []byte("m")}); err != nil {
			t.Fatal(err)
		}
	}
	restarted := func() *Service {
		return New(Config{Store: s.store, Authz: authz.New(authz.Config{Policies: policies{}, Now: s.now}), Now: s.now})
	}
	lastUsage(t, s.Service, id, "", time.Time{})
	if _, err := s.VerifyMac(ctx, &kms.VerifyMacInput{KeyId: id, MacAlgorithm: "HMAC_SHA_256", Message: []byte("m"), Mac: []byte("wrong")}); err == nil {
		t.Fatal("a wrong MAC is valid")
	}
	lastUsage(t, s.Service, id, "", time.Time{})

	before := count(t, s)
	first := s.clock
	mac()
	lastUsage(t, s.Service, id, "GenerateMac", first)
	if got := count(t, s); got != before {
		t.Errorf("a request left %d entries where there were %d", got, before)
	}
	lastUsage(t, restarted(), id, "", time.Time{})
	maintain := func() {
		t.Helper()
		if err := Maintain(t.Context(), s.Service); err != nil {
			t.Fatal(err)
		}
	}
	maintain()
	lastUsage(t, restarted(), id, "GenerateMac", first)

	s.clock = s.clock.Add(usageEvery - time.Minute)
	second := s.clock
	mac()
	maintain() // too early to write again
	lastUsage(t, s.Service, id, "GenerateMac", second)
	lastUsage(t, restarted(), id, "GenerateMac", first)
	s.clock = s.clock.Add(time.Minute)
	maintain() // though nothing was done since
	lastUsage(t, restarted(), id, "GenerateMac", second)
	s.clock = s.clock.Add(usageEvery)
	maintain()
	if n := len(s.tracker.seen); n != 0 {
		t.Errorf("%d keys are remembered that the store knows", n)
	}
	lastUsage(t, s.Service, id, "GenerateMac", second)

	// ReEncrypt is a use of both keys.
	source := create("", "")
	blob, err := s.Encrypt(ctx, &kms.EncryptInput{KeyId: source, Plaintext: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	s.clock = s.clock.Add(time.Second)
	if _, err := s.ReEncrypt(ctx, &kms.ReEncryptInput{CiphertextBlob: blob.CiphertextBlob, DestinationKeyId: other}); err != nil {
		t.Fatal(err)
	}
	lastUsage(t, s.Service, source, "ReEncrypt", s.clock)
	lastUsage(t, s.Service, other, "ReEncrypt", s.clock)

	// Of a key that is gone nothing is written.
	if _, err := s.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: source}); err != nil {
		t.Fatal(err)
	}
	s.clock = s.clock.AddDate(0, 0, 30)
	maintain()
	maintain()
	err = s.store.View(t.Context(), func(tx store.Tx) error {
		for entry, err := range tx.Scan("kms/usage/", "") {
			if err != nil {
				return err
			}
			if _, err := s.keys.Get(tx, keyOfUsage(entry.Key)); err != nil {
				t.Errorf("%s: %v", entry.Key, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stranger := caller.With(t.Context(), &caller.Request{ID: "test", Principal: &caller.Principal{Type: caller.User, Account: "210987654321", ARN: "arn:aws:iam::210987654321:user/eve", ID: "AIDAEVE"}, Region: testRegion, Service: "kms"})
	if _, err := s.GetKeyLastUsage(stranger, &kms.GetKeyLastUsageInput{KeyId: id}); err == nil {
		t.Error("a stranger is told when a key was used")
	}
}
