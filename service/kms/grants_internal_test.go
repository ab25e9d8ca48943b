package kms

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/malote/malote/authz"
)

// A key may have more grants than a transaction holds writes: none is left with the key.
func TestDueDeletionWipesGrants(t *testing.T) {
	t.Parallel()
	s := newTestService(t)
	ctx := rootUser(t.Context())
	key, err := s.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id := key.KeyMetadata.KeyId
	in := &kms.CreateGrantInput{
		KeyId: id, Name: aws.String("name"), Operations: []types.GrantOperation{"Decrypt"},
		GranteePrincipal: aws.String("arn:aws:iam::123456789012:user/bob"), RetiringPrincipal: aws.String("arn:aws:iam::123456789012:user/bob"),
	}
	for i := range 45 {
		in.Name = aws.String("name" + strings.Repeat("x", i))
		if _, err := s.CreateGrant(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: id}); err != nil {
		t.Fatal(err)
	}
	if got := count(t, s); got != 45*4+2 {
		t.Errorf("%d entries with 45 grants", got)
	}
	s.clock = s.clock.AddDate(0, 0, 30)
	if err := Maintain(t.Context(), s.Service); err != nil {
		t.Fatal(err)
	}
	if got := count(t, s); got != 0 {
		t.Errorf("%d entries are left", got)
	}
}

// FuzzGrantToken: what parses leads to a grant's place and to nowhere else.
func FuzzGrantToken(f *testing.F) {
	g := &grant{ID: strings.Repeat("0a", 32), Account: testAccount, Region: testRegion, KeyID: "1234abcd-12ab-34cd-56ef-1234567890ab", Secret: []byte("secret")}
	f.Add(g.token())
	f.Add("made-up")
	for _, text := range []string{"1/123456789012/us-east-1/../x/y/z", "1/123456789012/us-east-1/1234abcd-12ab-34cd-56ef-1234567890ab/" + strings.Repeat("/", 64) + "/1/"} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(text)))
	}
	f.Fuzz(func(t *testing.T, token string) {
		path, text, mac, ok := parseGrantToken(token)
		if !ok {
			return
		}
		if strings.Count(path, "/") != 5 || !strings.HasPrefix(path, "kms/") {
			t.Errorf("parseGrantToken(%q) leads to %q", token, path)
		}
		if raw, _ := base64.StdEncoding.DecodeString(token); string(raw) != text+"/"+mac {
			t.Errorf("parseGrantToken(%q): %q and %q are not all of it", token, text, mac)
		}
		if path == g.path() && mac == g.mac(text) && !strings.HasPrefix(text, "1/"+testAccount) {
			t.Errorf("a token of another kind: %q", token)
		}
	})
}

// Who creates grants by a grant does so no more once that is revoked, be it right before
// the write.
func TestGrantLostMeanwhile(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{true, false} {
		s := newTestService(t)
		ctx := rootUser(t.Context())
		key, err := s.CreateKey(ctx, &kms.CreateKeyInput{})
		if err != nil {
			t.Fatal(err)
		}
		in := &kms.CreateGrantInput{KeyId: key.KeyMetadata.KeyId, Operations: []types.GrantOperation{"CreateGrant"}, GranteePrincipal: aws.String("arn:aws:iam::123456789012:user/bob")}
		parent, err := s.CreateGrant(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		plain := *s.Service
		s.authz = authz.New(authz.Config{Policies: policies{}, Now: s.now, Audit: &between{1, func() {
			if !lost {
				_, err = plain.CreateGrant(ctx, in)
			} else {
				_, err = plain.RevokeGrant(ctx, &kms.RevokeGrantInput{KeyId: in.KeyId, GrantId: parent.GrantId})
			}
		}}})
		_, got := s.CreateGrant(user(t.Context(), testAccount), in)
		if err != nil {
			t.Fatal(err)
		}
		var denied *authz.Denied
		if errors.As(got, &denied) != lost || !lost && got != nil {
			t.Errorf("lost: %t, error: %v", lost, got)
		}
	}
}

// What a grantee's Decrypt costs beside 10 grants and beside 10,000.
func BenchmarkDecryptByGrant(b *testing.B) {
	for _, n := range []int{1, 10, 10_000} { // of which one is bob's
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s := newTestService(b)
			ctx := rootUser(b.Context())
			key, err := s.CreateKey(ctx, &kms.CreateKeyInput{})
			if err != nil {
				b.Fatal(err)
			}
			for i := range n {
				grantee := "arn:aws:iam::123456789012:user/bob"
				if i > 0 {
					grantee += strconv.Itoa(i)
				}
				_, err := s.CreateGrant(ctx, &kms.CreateGrantInput{
					KeyId: key.KeyMetadata.Arn, Operations: []types.GrantOperation{"Decrypt"}, GranteePrincipal: &grantee,
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			sealed, err := s.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyMetadata.Arn, Plaintext: []byte("x")})
			if err != nil {
				b.Fatal(err)
			}
			bob := user(b.Context(), testAccount)
			in := &kms.DecryptInput{KeyId: key.KeyMetadata.Arn, CiphertextBlob: sealed.CiphertextBlob}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Decrypt(bob, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
