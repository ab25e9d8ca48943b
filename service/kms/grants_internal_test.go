package kms

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
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
