package kms_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/malotetest"
)

func in(cfg aws.Config, region string) *kms.Client {
	return kms.NewFromConfig(cfg, func(o *kms.Options) { o.Region = region })
}

func multiRegionKey(t *testing.T, client *kms.Client) *types.KeyMetadata {
	t.Helper()
	out, err := client.CreateKey(t.Context(), &kms.CreateKeyInput{MultiRegion: aws.Bool(true), Description: aws.String("primary")})
	if err != nil {
		t.Fatal(err)
	}
	return out.KeyMetadata
}

func replicate(t *testing.T, client *kms.Client, id *string, region string) *kms.ReplicateKeyOutput {
	t.Helper()
	out, err := client.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: id, ReplicaRegion: &region})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestReplicateKey(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	us, eu := in(sys.Config(), malotetest.Region), in(sys.Config(), "eu-west-1")
	key, single := multiRegionKey(t, us), createKey(t, us)
	if !strings.HasPrefix(*key.KeyId, "mrk-") || len(*key.KeyId) != 36 || !*key.MultiRegion || key.MultiRegionConfiguration.MultiRegionKeyType != "PRIMARY" || len(key.MultiRegionConfiguration.ReplicaKeys) != 0 {
		t.Errorf("primary: %+v", key)
	}
	canary := sys.Canary()
	blob := encrypt(t, us, key.KeyId, canary, nil)
	_, err := eu.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
	wantError(t, err, "AccessDeniedException", "The ciphertext refers to")

	out, err := us.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: key.KeyId, ReplicaRegion: aws.String("eu-west-1"), Tags: []types.Tag{{TagKey: aws.String("a"), TagValue: aws.String("b")}}})
	if err != nil {
		t.Fatal(err)
	}
	m := out.ReplicaKeyMetadata
	euARN := "arn:aws:kms:eu-west-1:123456789012:key/" + *key.KeyId
	if m.KeyState != "Creating" || m.Enabled || *m.Description != "" || m.CurrentKeyMaterialId != nil || *m.Arn != euARN || *m.KeyId != *key.KeyId ||
		m.MultiRegionConfiguration.MultiRegionKeyType != "REPLICA" || *m.MultiRegionConfiguration.PrimaryKey.Arn != *key.Arn {
		t.Errorf("replica as answered: %+v", m)
	}
	if !strings.Contains(*out.ReplicaPolicy, "key-default-1") || len(out.ReplicaTags) != 1 {
		t.Errorf("policy %s, tags %v", *out.ReplicaPolicy, out.ReplicaTags)
	}
	got := stateOf(t, eu, key.KeyId)
	if got.KeyState != "Enabled" || *got.CurrentKeyMaterialId != *key.CurrentKeyMaterialId || *got.Arn != euARN {
		t.Errorf("replica: %+v", got)
	}
	if replicas := stateOf(t, us, key.KeyId).MultiRegionConfiguration.ReplicaKeys; len(replicas) != 1 || *replicas[0].Arn != euARN || *replicas[0].Region != "eu-west-1" {
		t.Errorf("the primary's replicas: %+v", replicas)
	}
	wantDecrypts(t, eu, blob, canary)
	wantDecrypts(t, us, encrypt(t, eu, key.KeyId, canary, nil), canary)

	// State, policy and grants are each one's own.
	if _, err := us.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	wantDecrypts(t, eu, blob, canary)
	_, err = us.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: key.KeyId, ReplicaRegion: aws.String("us-west-2")})
	wantError(t, err, "DisabledException", "is disabled")
	if _, err := us.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	sys.User(t, "grantee", "")
	grantTo(t, eu, &kms.CreateGrantInput{KeyId: key.KeyId, GranteePrincipal: aws.String(userARN + "grantee"), Operations: []types.GrantOperation{"Decrypt"}})
	if list, err := us.ListGrants(t.Context(), &kms.ListGrantsInput{KeyId: key.KeyId}); err != nil || len(list.Grants) != 0 {
		t.Errorf("grants of the primary: %+v, %v", list, err)
	}

	_, err = us.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: key.KeyId, ReplicaRegion: aws.String("eu-west-1")})
	wantError(t, err, "AlreadyExistsException", "eu-west-1")
	_, err = us.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: single.KeyId, ReplicaRegion: aws.String("eu-west-1")})
	wantError(t, err, "UnsupportedOperationException", *single.Arn+" is not a multi-region primary key.")
	_, err = eu.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: key.KeyId, ReplicaRegion: aws.String("us-west-2")})
	wantError(t, err, "UnsupportedOperationException", euARN+" is not a multi-region primary key.")
	_, err = us.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: key.KeyId, ReplicaRegion: aws.String("us-west-2"), Policy: aws.String(keyPolicy("arn:aws:iam::210987654321:root", "kms:*"))})
	wantError(t, err, "MalformedPolicyDocumentException", "The new key policy will not allow you")

	// Both halves of the permission, in their Regions.
	allow := func(action, region, more string) string {
		return fmt.Sprintf(`{"Effect":"Allow","Action":"kms:%s","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":%q%s}}}`, action, region, more)
	}
	for i, tt := range []struct{ first, second, denied string }{
		{allow("ReplicateKey", "us-east-1", `,"kms:ReplicaRegion":"eu-west-1"`), allow("CreateKey", "us-west-2", ""), "kms:ReplicateKey"},
		{allow("ReplicateKey", "us-east-1", ""), allow("CreateKey", "us-east-1", ""), "kms:CreateKey"},
		{allow("ReplicateKey", "us-east-1", `,"kms:ReplicaRegion":"us-west-2"`), allow("CreateKey", "us-west-2", `,"kms:MultiRegionKeyType":"REPLICA"`), ""},
	} {
		as := in(sys.User(t, fmt.Sprintf("user%d", i), `{"Version":"2012-10-17","Statement":[`+tt.first+","+tt.second+`]}`), "us-east-1")
		_, err := as.ReplicateKey(t.Context(), &kms.ReplicateKeyInput{KeyId: key.KeyId, ReplicaRegion: aws.String("us-west-2")})
		if tt.denied == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantError(t, err, "AccessDeniedException", tt.denied)
	}
}

// What a set shares changes in all its Regions at once.
func TestMultiRegionRotation(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	us, eu := in(sys.Config(), malotetest.Region), in(sys.Config(), "eu-west-1")
	key := multiRegionKey(t, us)
	blob := encrypt(t, us, key.KeyId, "at first", nil)
	if _, err := us.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: key.KeyId, RotationPeriodInDays: aws.Int32(100)}); err != nil {
		t.Fatal(err)
	}
	replicate(t, us, key.KeyId, "eu-west-1")
	status, err := eu.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: key.KeyId})
	if err != nil || !status.KeyRotationEnabled || *status.RotationPeriodInDays != 100 {
		t.Errorf("status of the replica: %+v, %v", status, err)
	}
	euARN := "arn:aws:kms:eu-west-1:123456789012:key/" + *key.KeyId
	_, err = eu.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: key.KeyId})
	wantError(t, err, "UnsupportedOperationException", euARN+" is not a multi-region primary key.")
	_, err = eu.DisableKeyRotation(t.Context(), &kms.DisableKeyRotationInput{KeyId: key.KeyId})
	wantError(t, err, "UnsupportedOperationException", euARN+" is not a multi-region primary key.")

	seen := map[string]bool{*key.CurrentKeyMaterialId: true}
	wantRotated := func() {
		t.Helper()
		one, other := stateOf(t, eu, key.KeyId).CurrentKeyMaterialId, stateOf(t, us, key.KeyId).CurrentKeyMaterialId
		if *one != *other || seen[*one] {
			t.Errorf("material %s and %s", *one, *other)
		}
		seen[*one] = true
		wantDecrypts(t, us, encrypt(t, eu, key.KeyId, "now", nil), "now")
		wantDecrypts(t, eu, encrypt(t, us, key.KeyId, "now", nil), "now")
		wantDecrypts(t, eu, blob, "at first")
	}
	if _, err := us.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	wantRotated()
	sys.Clock.Advance(100*24*time.Hour + time.Minute) // due, and the replica is asked first
	wantRotated()
}

func TestUpdatePrimaryRegion(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	us, eu := in(sys.Config(), malotetest.Region), in(sys.Config(), "eu-west-1")
	key := multiRegionKey(t, us)
	update := func(client *kms.Client, region string) error {
		_, err := client.UpdatePrimaryRegion(t.Context(), &kms.UpdatePrimaryRegionInput{KeyId: key.KeyId, PrimaryRegion: &region})
		return err
	}
	wantError(t, update(us, "eu-west-1"), "NotFoundException", "Key 'arn:aws:kms:eu-west-1:123456789012:key/"+*key.KeyId+"' does not exist")
	wantError(t, update(us, "us-east-1"), "ValidationException", "already in us-east-1")
	replicate(t, us, key.KeyId, "eu-west-1")
	wantError(t, update(eu, "us-east-1"), "UnsupportedOperationException", "is not a multi-region primary key.")

	half := in(sys.User(t, "half", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:UpdatePrimaryRegion","Resource":"arn:aws:kms:us-east-1:*:key/*"}]}`), "us-east-1")
	wantError(t, update(half, "eu-west-1"), "AccessDeniedException", "arn:aws:kms:eu-west-1:123456789012:key/"+*key.KeyId)
	if _, err := eu.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	wantError(t, update(us, "eu-west-1"), "DisabledException", "eu-west-1")
	if _, err := eu.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	if err := update(us, "eu-west-1"); err != nil {
		t.Fatal(err)
	}
	for region, want := range map[string]types.MultiRegionKeyType{"us-east-1": "REPLICA", "eu-west-1": "PRIMARY"} {
		got := stateOf(t, in(sys.Config(), region), key.KeyId).MultiRegionConfiguration
		if got.MultiRegionKeyType != want || *got.PrimaryKey.Region != "eu-west-1" || len(got.ReplicaKeys) != 1 || *got.ReplicaKeys[0].Region != "us-east-1" {
			t.Errorf("%s: %+v", region, got)
		}
	}
	replicate(t, eu, key.KeyId, "us-west-2")
	if _, err := eu.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: key.KeyId}); err != nil {
		t.Error(err)
	}
}

// A primary key waits for its replicas before its own waiting period begins.
func TestPendingReplicaDeletion(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	us, eu := in(sys.Config(), malotetest.Region), in(sys.Config(), "eu-west-1")
	key := multiRegionKey(t, us)
	replicate(t, us, key.KeyId, "eu-west-1")
	remove := func(client *kms.Client, days int32) *kms.ScheduleKeyDeletionOutput {
		t.Helper()
		out, err := client.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: &days})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := remove(us, 7); out.KeyState != "PendingReplicaDeletion" || out.DeletionDate != nil || *out.PendingWindowInDays != 7 {
		t.Errorf("primary: %+v", out)
	}
	_, err := us.Encrypt(t.Context(), &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("x")})
	wantError(t, err, "KMSInvalidStateException", "is pending deletion.")
	encrypt(t, eu, key.KeyId, "still works", nil)
	if _, err := us.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	if got := stateOf(t, us, key.KeyId); got.KeyState != "Disabled" {
		t.Errorf("cancelled: %s", got.KeyState)
	}
	remove(us, 7)
	if out := remove(eu, 10); out.KeyState != "PendingDeletion" {
		t.Errorf("replica: %+v", out)
	}
	sys.Clock.Advance(9 * 24 * time.Hour)
	if got := stateOf(t, us, key.KeyId); got.KeyState != "PendingReplicaDeletion" {
		t.Errorf("the replica is there: %s", got.KeyState)
	}
	sys.Clock.Advance(24*time.Hour + time.Minute)
	_, err = eu.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyId})
	wantError(t, err, "NotFoundException", "does not exist")
	got := stateOf(t, us, key.KeyId)
	if got.KeyState != "PendingDeletion" || got.DeletionDate == nil || len(got.MultiRegionConfiguration.ReplicaKeys) != 0 {
		t.Errorf("the replica is gone: %+v", got)
	}
	sys.Clock.Advance(7*24*time.Hour + time.Minute)
	_, err = us.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyId})
	wantError(t, err, "NotFoundException", "does not exist")
}

// Imported material is imported into each key of a set, first into the primary.
func TestMultiRegionImport(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	us, eu := in(sys.Config(), malotetest.Region), in(sys.Config(), "eu-west-1")
	key := externalKey(t, us, true)
	material := newMaterial()
	wrap := func(client *kms.Client, material []byte, kind types.ImportType) *kms.ImportKeyMaterialInput {
		t.Helper()
		in := wrapped(t, client, key.KeyId, "RSA_2048", "RSAES_OAEP_SHA_256", material)
		in.ImportType = kind
		return in
	}
	id := imported(t, us, wrap(us, material, ""))
	canary := sys.Canary()
	blob := encrypt(t, us, key.KeyId, canary, nil)
	replicate(t, us, key.KeyId, "eu-west-1")
	if got := stateOf(t, eu, key.KeyId); got.KeyState != "PendingImport" {
		t.Errorf("the replica without material: %s", got.KeyState)
	}
	_, err := eu.ImportKeyMaterial(t.Context(), wrap(us, material, "")) // the token is of the primary
	wantError(t, err, "InvalidImportTokenException", "import token")
	_, err = eu.ImportKeyMaterial(t.Context(), wrap(eu, material, "NEW_KEY_MATERIAL"))
	wantError(t, err, "UnsupportedOperationException", "is not a multi-region primary key.")
	_, err = eu.ImportKeyMaterial(t.Context(), wrap(eu, newMaterial(), ""))
	wantError(t, err, "IncorrectKeyMaterialException", "previously imported")
	if again := imported(t, eu, wrap(eu, material, "")); again != id {
		t.Errorf("material id %s, want %s", again, id)
	}
	wantDecrypts(t, eu, blob, canary)

	next := newMaterial()
	imported(t, us, wrap(us, next, "NEW_KEY_MATERIAL"))
	pending := func() types.KeyMaterialState {
		t.Helper()
		out, err := us.ListKeyRotations(t.Context(), &kms.ListKeyRotationsInput{KeyId: key.KeyId, IncludeKeyMaterial: "ALL_KEY_MATERIAL"})
		if err != nil || len(out.Rotations) != 2 {
			t.Fatalf("%+v, %v", out, err)
		}
		return out.Rotations[1].KeyMaterialState
	}
	if got := pending(); got != "PENDING_MULTI_REGION_IMPORT_AND_ROTATION" {
		t.Errorf("in the primary alone: %s", got)
	}
	_, err = us.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: key.KeyId})
	wantError(t, err, "KMSInvalidStateException", "No available key material pending rotation")
	imported(t, eu, wrap(eu, next, "EXISTING_KEY_MATERIAL"))
	if got := pending(); got != "PENDING_ROTATION" {
		t.Errorf("everywhere: %s", got)
	}
	if _, err := us.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	wantDecrypts(t, us, encrypt(t, eu, key.KeyId, canary, nil), canary)
	wantDecrypts(t, eu, blob, canary)
}

func TestRotateKeyOnDemand(t *testing.T) {
	t.Parallel()
	sys := malotetest.New(t)
	client := kms.NewFromConfig(sys.Config())
	key := createKey(t, client)
	rotate := func(as *kms.Client) error {
		out, err := as.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: key.KeyId})
		if err == nil && *out.KeyId != *key.Arn {
			t.Errorf("KeyId = %s", *out.KeyId)
		}
		return err
	}
	if _, err := client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	before, err := client.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: key.KeyId})
	if err != nil {
		t.Fatal(err)
	}
	var blobs [][]byte
	for i := range 25 {
		blobs = append(blobs, encrypt(t, client, key.KeyId, fmt.Sprint(i), nil))
		if err := rotate(client); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, rotate(client), "LimitExceededException", "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed for this key: "+*key.Arn)
	for i, blob := range blobs {
		wantDecrypts(t, client, blob, fmt.Sprint(i))
	}
	after, err := client.GetKeyRotationStatus(t.Context(), &kms.GetKeyRotationStatusInput{KeyId: key.KeyId})
	if err != nil || !after.NextRotationDate.Equal(*before.NextRotationDate) || after.OnDemandRotationStartDate != nil {
		t.Errorf("the schedule: %+v, %v", after, err)
	}

	sys.Clock.Advance(366 * 24 * time.Hour)
	for include, want := range map[types.IncludeKeyMaterial]int{"": 26, "ROTATIONS_ONLY": 26, "ALL_KEY_MATERIAL": 27} {
		var all []types.RotationsListEntry
		pages := kms.NewListKeyRotationsPaginator(client, &kms.ListKeyRotationsInput{KeyId: key.KeyId, Limit: aws.Int32(10), IncludeKeyMaterial: include})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, page.Rotations...)
		}
		if len(all) != want {
			t.Fatalf("%q: %d rotations, want %d", include, len(all), want)
		}
		last := all[len(all)-1]
		if last.RotationType != "AUTOMATIC" || last.KeyMaterialState != "CURRENT" || last.RotationDate == nil || *last.KeyId != *key.Arn || last.ImportState != "" || all[1].RotationType != "ON_DEMAND" {
			t.Errorf("%q: %+v", include, last)
		}
	}

	bob := kms.NewFromConfig(sys.User(t, "bob", malotetest.Allow("*", "kms:DescribeKey")))
	wantError(t, rotate(bob), "AccessDeniedException", "kms:RotateKeyOnDemand")
	_, err = bob.ListKeyRotations(t.Context(), &kms.ListKeyRotationsInput{KeyId: key.KeyId})
	wantError(t, err, "AccessDeniedException", "kms:ListKeyRotations")
	if _, err := client.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: key.KeyId}); err != nil {
		t.Fatal(err)
	}
	wantError(t, rotate(client), "DisabledException", *key.Arn+" is disabled.")

	soon := createKey(t, client)
	if _, err := client.EnableKeyRotation(t.Context(), &kms.EnableKeyRotationInput{KeyId: soon.KeyId, RotationPeriodInDays: aws.Int32(90)}); err != nil {
		t.Fatal(err)
	}
	sys.Clock.Advance(90*24*time.Hour - 10*time.Minute)
	_, err = client.RotateKeyOnDemand(t.Context(), &kms.RotateKeyOnDemandInput{KeyId: soon.KeyId})
	wantError(t, err, "ConflictException", "within the next 20 minutes")
}
