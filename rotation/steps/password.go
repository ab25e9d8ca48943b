package steps

import (
	"context"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// Password is how new passwords are made: by GetRandomPassword, with these wishes.
type Password struct {
	in secretsmanager.GetRandomPasswordInput
}

// ParsePassword takes what it knows out of options, by the names of the environment
// variables of AWS's rotation functions, and leaves the rest. Defaults are theirs: 32
// characters without :/@"'\.
func ParsePassword(options map[string]string) (Password, error) {
	var p Password
	exclude, length := `:/@"'\`, int64(32)
	if value, ok := options["EXCLUDE_CHARACTERS"]; ok {
		exclude = value
		delete(options, "EXCLUDE_CHARACTERS")
	}
	if value, ok := options["PASSWORD_LENGTH"]; ok {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 8 || n > 4096 {
			return p, fmt.Errorf("PASSWORD_LENGTH is %q: a number from 8 to 4096 is wanted", value)
		}
		length = n
		delete(options, "PASSWORD_LENGTH")
	}
	p.in.ExcludeCharacters, p.in.PasswordLength = &exclude, &length
	for name, member := range map[string]**bool{
		"EXCLUDE_NUMBERS": &p.in.ExcludeNumbers, "EXCLUDE_PUNCTUATION": &p.in.ExcludePunctuation,
		"EXCLUDE_UPPERCASE": &p.in.ExcludeUppercase, "EXCLUDE_LOWERCASE": &p.in.ExcludeLowercase,
		"REQUIRE_EACH_INCLUDED_TYPE": &p.in.RequireEachIncludedType,
	} {
		value, ok := options[name]
		if !ok {
			continue
		}
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return p, fmt.Errorf("%s is %q: true or false is wanted", name, value)
		}
		*member = &yes
		delete(options, name)
	}
	return p, nil
}

// Make asks Secrets Manager for a password.
func (p Password) Make(ctx context.Context, run *Run) (string, error) {
	in := p.in
	out, err := run.client.GetRandomPassword(ctx, &in)
	if err != nil {
		return "", fmt.Errorf("making a password: %w", err)
	}
	return *out.RandomPassword, nil
}
