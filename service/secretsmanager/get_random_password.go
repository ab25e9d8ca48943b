package secretsmanager

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

const (
	defaultPasswordLength = 32
	maxPasswordLength     = 4096

	lowercase   = "abcdefghijklmnopqrstuvwxyz"
	uppercase   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	numbers     = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	space       = " "
)

// GetRandomPassword returns a password drawn uniformly from those that satisfy the
// request. It touches no stored secret, so IAM knows no resource for it and policies grant
// it on "*".
func (s *Service) GetRandomPassword(ctx context.Context, in *secretsmanager.GetRandomPasswordInput) (*secretsmanager.GetRandomPasswordOutput, error) {
	if err := s.authorize(ctx, "secretsmanager:GetRandomPassword"); err != nil {
		return nil, err
	}

	length := defaultPasswordLength
	if in.PasswordLength != nil {
		length = int(*in.PasswordLength)
	}
	if length < 1 || length > maxPasswordLength {
		return nil, invalidParameter("PasswordLength must be between 1 and %d.", maxPasswordLength)
	}
	classes := passwordClasses(in)
	if len(classes) == 0 {
		return nil, invalidParameter("The exclusions leave no character to choose from.")
	}
	var required []string
	if in.RequireEachIncludedType == nil || *in.RequireEachIncludedType {
		required = classes
	}
	if length < len(required) {
		return nil, invalidParameter("Password length is too short based on the required types.")
	}

	// Redrawing the whole password keeps the choice uniform; planting one character of
	// each class at a chosen place would not. The meanest request (five places, five
	// classes, four of them one character wide) takes some 7,800 draws: milliseconds.
	alphabet := strings.Join(classes, "")
	for {
		password := randomString(alphabet, length)
		if containsEach(password, required) {
			return &secretsmanager.GetRandomPasswordOutput{RandomPassword: aws.String(password)}, nil
		}
	}
}

// passwordClasses returns the sets of characters that the request leaves, none empty.
func passwordClasses(in *secretsmanager.GetRandomPasswordInput) []string {
	var classes []string
	for _, class := range []struct {
		characters string
		included   bool
	}{
		{lowercase, !aws.ToBool(in.ExcludeLowercase)},
		{uppercase, !aws.ToBool(in.ExcludeUppercase)},
		{numbers, !aws.ToBool(in.ExcludeNumbers)},
		{punctuation, !aws.ToBool(in.ExcludePunctuation)},
		{space, aws.ToBool(in.IncludeSpace)},
	} {
		left := strings.Map(func(r rune) rune {
			if strings.ContainsRune(aws.ToString(in.ExcludeCharacters), r) {
				return -1
			}
			return r
		}, class.characters)
		if class.included && left != "" {
			classes = append(classes, left)
		}
	}
	return classes
}

func containsEach(text string, classes []string) bool {
	for _, class := range classes {
		if !strings.ContainsAny(text, class) {
			return false
		}
	}
	return true
}
