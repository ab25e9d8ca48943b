package malotetest

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/malote/malote/service/iam/directory"
)

// Other makes another account, twelve digits, and returns the configuration of its user
// admin: for what happens between accounts.
func (s *System) Other(t testing.TB, account string) aws.Config {
	t.Helper()
	return s.account(t, directory.NewAccount{ID: account})
}

// OtherRoot makes another account and returns the configuration of its root user.
func (s *System) OtherRoot(t testing.TB, account string) aws.Config {
	t.Helper()
	return s.account(t, directory.NewAccount{ID: account, Root: true})
}

func (s *System) account(t testing.TB, in directory.NewAccount) aws.Config {
	t.Helper()
	_, made, err := s.plane.CreateAccount(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return s.config(made.AccessKeyID, made.SecretAccessKey, "")
}

// Root returns the configuration of the account's root user.
func (s *System) Root(t testing.TB) aws.Config {
	t.Helper()
	const key, secret = "AKIAMALOTETESTROOT01", "only-for-tests/root/only-for-tests/0001"
	if _, err := s.plane.Directory.Bootstrap(t.Context(), directory.BootstrapConfig{
		Account: Account, RootAccessKeyID: key, RootSecretAccessKey: secret,
	}); err != nil {
		t.Fatal(err)
	}
	return s.config(key, secret, "")
}

// Credentials returns the configuration of a session that STS gave out.
func (s *System) Credentials(id, secret, token string) aws.Config {
	return s.config(id, secret, token)
}
