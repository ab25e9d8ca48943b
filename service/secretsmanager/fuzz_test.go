package secretsmanager

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode"
)

// FuzzSecretID: what is accepted has a name and an account to look in, and the ARN of a
// secret leads back to it.
func FuzzSecretID(f *testing.F) {
	for _, seed := range []string{
		"db", "prod/db", "a name", "x-a1b2c3", "", "arn:", "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-a1b2c3",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:db", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:-a1b2c3", "arn:aws:secretsmanager:us-east-1:123456789012:secret:a:b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		id := parseSecretID(given, testRegion, testAccount)
		if id.literal != given {
			t.Errorf("literal = %q, want %q", id.literal, given)
		}
		if id.err != nil {
			return
		}
		if !isName(id.name) || !isAccount(id.account) || id.suffix != "" && len(id.suffix) != suffixSize {
			t.Errorf("parseSecretID(%q) = %+v", given, id)
		}
		x := &secret{Name: id.name, Suffix: "AbCdEf", Account: id.account, Region: testRegion}
		x.Prepare()
		if again := parseSecretID(x.arn, testRegion, testAccount); again.err != nil || again.name != x.Name || again.suffix != x.Suffix || again.account != x.Account {
			t.Errorf("parseSecretID(%q) = %+v, want %+v", x.arn, again, x)
		}
	})
}

// FuzzValue: what was sealed opens, and one altered byte, another version or another
// secret never does.
func FuzzValue(f *testing.F) {
	f.Add([]byte("correct horse"), false, "arn", "version", 0, byte(1))
	f.Add([]byte{0, 0xff}, true, "arn", "version", 1, byte(1))
	f.Add([]byte{}, true, "", "", valueStart, byte(0x80))
	key := bytes.Repeat([]byte{7}, 32)
	f.Fuzz(func(t *testing.T, text []byte, binary bool, arn, id string, at int, flip byte) {
		sealed, err := sealValue(key, arn, id, &plain{binary, text})
		if err != nil {
			t.Fatal(err)
		}
		got, err := openValue(key, arn, id, sealed)
		if err != nil || got.binary != binary || !bytes.Equal(got.bytes, text) {
			t.Fatalf("open(seal(x)) = %v", err)
		}
		if _, err := openValue(key, arn+"x", id, sealed); !errors.Is(err, errDamaged) {
			t.Errorf("opens as another secret's: %v", err)
		}
		if _, err := openValue(key, arn, id+"x", sealed); !errors.Is(err, errDamaged) {
			t.Errorf("opens as another version's: %v", err)
		}
		if flip == 0 {
			return
		}
		sealed[uint(at)%uint(len(sealed))] ^= flip
		if _, err := openValue(key, arn, id, sealed); !errors.Is(err, errDamaged) {
			t.Errorf("opens with byte %d altered: %v", uint(at)%uint(len(sealed)), err)
		}
	})
}

// FuzzToken: a token is the listing's that made it, or refused.
func FuzzToken(f *testing.F) {
	f.Add(*encodeToken(position{1, "a"}, "list", ""))
	f.Add("e30")
	f.Fuzz(func(t *testing.T, text string) {
		at, err := decodeToken(text, "list", "")
		if err != nil {
			return
		}
		again, err := decodeToken(*encodeToken(at, "list", ""), "list", "")
		if err != nil || again != at {
			t.Errorf("decode(encode(%+v)) = %+v, %v", at, again, err)
		}
		if _, err := decodeToken(text, "list", "other"); err == nil {
			t.Error("a token continues another listing")
		}
	})
}

// FuzzWords: a text is found by each word of its own, and a word has no space in it.
func FuzzWords(f *testing.F) {
	for _, seed := range []string{"", "DescTwo", "COMPANYthings", "a/b-c", "prod/db_main", "x=y z.w", "ÄÖü", "\xff\xfe A", "ǅx"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all := words(text)
		for _, w := range all {
			if w == "" || strings.ContainsFunc(w, unicode.IsSpace) {
				t.Errorf("words(%q) = %q", text, all)
			}
			if !hasWords([]string{w}, text) {
				t.Errorf("%q is not found by its word %q", text, w)
			}
		}
		if len(all) > 0 && !hasWords(all, "other", text) {
			t.Errorf("%q is not found by %q", text, all)
		}
	})
}
