package directory_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/malote/malote/caller"
	"github.com/malote/malote/gateway"
	"github.com/malote/malote/service/iam/directory"
	"github.com/malote/malote/store"
	"github.com/malote/malote/store/etcd/etcdtest"
	"github.com/malote/malote/store/memory"
)

const account = "123456789012"

type fixture struct {
	*directory.Directory
	store store.Store
	time  time.Time
}

func open(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{store: memory.New(), time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	f.Directory = directory.New(directory.Config{Store: f.store, Now: func() time.Time { return f.time }})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		f.store.Close()
	})
	return f
}

func (f *fixture) update(t testing.TB, fn func(*directory.Tx) error) {
	t.Helper()
	if err := f.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// role makes a role and returns it.
func (f *fixture) role(t testing.TB, name string) *directory.Role {
	t.Helper()
	r := &directory.Role{
		Entity:     directory.Entity{Account: account, Path: "/", Name: name, ID: directory.NewID("AROA"), Created: f.time},
		MaxSession: 3600,
		Trust:      directory.Trust{Document: `{"Version":"2012-10-17","Statement":[]}`},
	}
	f.update(t, func(tx *directory.Tx) error { return tx.PutRole(r) })
	return r
}

// user makes a user with a key and returns both.
func (f *fixture) user(t testing.TB, name string) (*directory.User, *directory.AccessKey) {
	t.Helper()
	u := &directory.User{Entity: directory.Entity{Account: account, Path: "/", Name: name, ID: directory.NewID("AIDA"), Created: f.time}}
	key := f.NewAccessKey(account, u.ID)
	u.AccessKeys = []string{key.ID}
	f.update(t, func(tx *directory.Tx) error { return errors.Join(tx.PutUser(u), tx.PutAccessKey(key)) })
	return u, key
}

func (f *fixture) session(t testing.TB, s directory.Session) *directory.Issued {
	t.Helper()
	if s.Expires.IsZero() {
		s.Expires = f.time.Add(time.Hour)
	}
	issued, err := f.Issue(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func as(ctx context.Context, p *caller.Principal) context.Context {
	return caller.With(ctx, &caller.Request{Principal: p, Region: "eu-central-1", Service: "ssm", Time: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)})
}

func TestBootstrap(t *testing.T) {
	t.Parallel()

	t.Run("admin with a drawn key", func(t *testing.T) {
		t.Parallel()
		f := open(t)
		made, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{Account: account})
		if err != nil {
			t.Fatal(err)
		}
		c, err := f.Lookup(t.Context(), made.AccessKeyID, "")
		if err != nil {
			t.Fatal(err)
		}
		if c.SecretAccessKey != made.SecretAccessKey || len(made.SecretAccessKey) != 40 || !strings.HasPrefix(made.AccessKeyID, "AKIA") || len(made.AccessKeyID) != 20 {
			t.Errorf("key %q with a secret of %d, looked up one of %d", made.AccessKeyID, len(made.SecretAccessKey), len(c.SecretAccessKey))
		}
		if want := "arn:aws:iam::" + account + ":user/admin"; c.Principal.ARN != want || c.Principal.Type != caller.User {
			t.Errorf("principal = %+v, want %s", c.Principal, want)
		}

		again, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{Account: account})
		if err != nil || *again != (directory.Bootstrapped{}) {
			t.Errorf("second Bootstrap = %+v, %v, want nothing made", again, err)
		}
		if _, err := f.Lookup(t.Context(), made.AccessKeyID, ""); err != nil {
			t.Errorf("after the second start: %v", err)
		}
	})

	t.Run("admin with a given key", func(t *testing.T) {
		t.Parallel()
		f := open(t)
		made, err := f.Bootstrap(t.Context(), directory.BootstrapConfig{
			Account: account, AdminAccessKeyID: "AKIAADMINADMINADMINA", AdminSecretAccessKey: "0123456789abcdef",
		})
		if err != nil || *made != (directory.Bootstrapped{}) {
			t.Fatalf("Bootstrap = %+v, %v", made, err)
		}
		if c, err := f.Lookup(t.Context(), "AKIAADMINADMINADMINA", ""); err != nil || c.SecretAccessKey != "0123456789abcdef" {
			t.Errorf("Lookup = %v", err)
		}
	})

	t.Run("root and no admin", func(t *testing.T) {
		t.Parallel()
		f := open(t)
		config := directory.BootstrapConfig{Account: account, RootAccessKeyID: "AKIAROOTROOTROOTROOT", RootSecretAccessKey: "0123456789abcdef"}
		for range 2 {
			if _, err := f.Bootstrap(t.Context(), config); err != nil {
				t.Fatal(err)
			}
		}
		c, err := f.Lookup(t.Context(), config.RootAccessKeyID, "")
		if err != nil {
			t.Fatal(err)
		}
		want := &caller.Principal{Type: caller.Account, Account: account, ARN: "arn:aws:iam::" + account + ":root", ID: account, AccessKeyID: config.RootAccessKeyID}
		if diff := cmp.Diff(want, c.Principal); diff != "" {
			t.Errorf("principal (-want +got):\n%s", diff)
		}
		if err := f.View(t.Context(), func(tx *directory.Tx) error { _, err := tx.User(account, "admin"); return err }); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("admin: %v, want none", err)
		}
		config.RootSecretAccessKey = "another secret, as long"
		if _, err := f.Bootstrap(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		if c, err := f.Lookup(t.Context(), config.RootAccessKeyID, ""); err != nil || c.SecretAccessKey != config.RootSecretAccessKey {
			t.Errorf("root's secret was not replaced: %v", err)
		}
	})

	for _, tt := range []struct {
		name   string
		config directory.BootstrapConfig
		want   string
	}{
		{"account", directory.BootstrapConfig{Account: "12"}, "twelve digits"},
		{"id without secret", directory.BootstrapConfig{Account: account, AdminAccessKeyID: "AKIAADMINADMINADMINA"}, "together"},
		{"short secret", directory.BootstrapConfig{Account: account, AdminAccessKeyID: "AKIAADMINADMINADMINA", AdminSecretAccessKey: "short"}, "16 characters"},
		{"temporary id", directory.BootstrapConfig{Account: account, RootAccessKeyID: "ASIAADMINADMINADMINA", RootSecretAccessKey: "0123456789abcdef"}, "temporary"},
	} {
		t.Run("refused: "+tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := open(t).Bootstrap(t.Context(), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLookupLongTerm(t *testing.T) {
	t.Parallel()
	f := open(t)
	u, key := f.user(t, "Bob")

	c, err := f.Lookup(t.Context(), key.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	want := &caller.Principal{Type: caller.User, Account: account, ARN: u.ARN(), ID: u.ID, UserName: "Bob", AccessKeyID: key.ID}
	if diff := cmp.Diff(want, c.Principal); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	if _, err := f.Lookup(t.Context(), key.ID, "a token"); err != gateway.ErrInvalidToken {
		t.Errorf("with a token: %v, want ErrInvalidToken", err)
	}
	if _, err := f.Lookup(t.Context(), "AKIANOBODYNOBODYNOBO", ""); err != gateway.ErrUnknownKey {
		t.Errorf("unknown key: %v, want ErrUnknownKey", err)
	}

	f.update(t, func(tx *directory.Tx) error {
		u, err := tx.User(account, "bob")
		if err != nil {
			return err
		}
		u.Tags = []directory.Tag{{Key: "team", Value: "a"}}
		return tx.PutUser(u)
	})
	if c, err := f.Lookup(t.Context(), key.ID, ""); err != nil || c.Principal.Tags["team"] != "a" {
		t.Errorf("after tagging: %v, %v", c, err)
	}

	inactive := *key
	inactive.Active = false
	f.update(t, func(tx *directory.Tx) error { return tx.PutAccessKey(&inactive) })
	if _, err := f.Lookup(t.Context(), key.ID, ""); err != gateway.ErrUnknownKey {
		t.Errorf("inactive key: %v, want ErrUnknownKey", err)
	}

	f.update(t, func(tx *directory.Tx) error { return errors.Join(tx.PutAccessKey(key), tx.DeleteUser(u)) })
	if _, err := f.Lookup(t.Context(), key.ID, ""); err != gateway.ErrUnknownKey {
		t.Errorf("deleted user: %v, want ErrUnknownKey", err)
	}
}

func TestLookupTemporary(t *testing.T) {
	t.Parallel()
	f := open(t)
	role := f.role(t, "App")
	role.Tags = []directory.Tag{{Key: "Team", Value: "role"}, {Key: "env", Value: "prod"}}
	f.update(t, func(tx *directory.Tx) error { return tx.PutRole(role) })
	session := directory.Session{
		Account: account, Type: caller.AssumedRole, ID: role.ID, Name: "s1",
		Tags: map[string]string{"team": "session"}, TransitiveTags: []string{"team"}, SourceIdentity: "alice",
	}
	a, b := f.session(t, session), f.session(t, session)

	for range 2 { // the second time from memory
		c, err := f.Lookup(t.Context(), a.AccessKeyID, a.SessionToken)
		if err != nil {
			t.Fatal(err)
		}
		want := &caller.Principal{
			Type: caller.AssumedRole, Account: account, ID: role.ID + ":s1",
			ARN:     "arn:aws:sts::" + account + ":assumed-role/App/s1",
			RoleARN: role.ARN(), RoleID: role.ID, SessionName: "s1", AccessKeyID: a.AccessKeyID,
			Tags:           map[string]string{"team": "session", "env": "prod"},
			TransitiveTags: []string{"team"}, SourceIdentity: "alice", IssuedAt: f.time,
		}
		if diff := cmp.Diff(want, c.Principal); diff != "" {
			t.Errorf("principal (-want +got):\n%s", diff)
		}
		if c.SecretAccessKey != a.SecretAccessKey || !c.Expires.Equal(f.time.Add(time.Hour)) {
			t.Errorf("expires %v", c.Expires)
		}
	}

	flipped := []byte(a.SessionToken)
	flipped[40] ^= 1
	for _, tt := range []struct {
		name, id, token string
		want            error
	}{
		{"no token", a.AccessKeyID, "", gateway.ErrUnknownKey},
		{"another key's token", a.AccessKeyID, b.SessionToken, gateway.ErrInvalidToken},
		{"another key", "ASIAAAAAAAAAAAAAAAAA", a.SessionToken, gateway.ErrInvalidToken},
		{"one bit", a.AccessKeyID, string(flipped), gateway.ErrInvalidToken},
		{"cut", a.AccessKeyID, a.SessionToken[:len(a.SessionToken)-4], gateway.ErrInvalidToken},
		{"garbage", a.AccessKeyID, "no base64!", gateway.ErrInvalidToken},
		{"empty seal", a.AccessKeyID, "AQ==", gateway.ErrInvalidToken},
	} {
		if _, err := f.Lookup(t.Context(), tt.id, tt.token); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := open(t).Lookup(t.Context(), a.AccessKeyID, a.SessionToken); err != gateway.ErrInvalidToken {
		t.Errorf("in another store: %v, want ErrInvalidToken", err)
	}

	f.time = f.time.Add(time.Hour)
	if _, err := f.Lookup(t.Context(), a.AccessKeyID, a.SessionToken); err != gateway.ErrExpiredToken {
		t.Errorf("expired: %v, want ErrExpiredToken", err)
	}
	f.time = f.time.Add(-time.Hour)

	f.update(t, func(tx *directory.Tx) error { return tx.DeleteRole(role) })
	if _, err := f.Lookup(t.Context(), a.AccessKeyID, a.SessionToken); err != gateway.ErrInvalidToken {
		t.Errorf("deleted role: %v, want ErrInvalidToken", err)
	}
	f.role(t, "App")
	if _, err := f.Lookup(t.Context(), a.AccessKeyID, a.SessionToken); err != gateway.ErrInvalidToken {
		t.Errorf("role made anew: %v, want ErrInvalidToken", err)
	}
}

var cluster etcdtest.Shared

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }

// Control planes on one cluster learn of each other's writes through Watch.
func TestFollowsTheStore(t *testing.T) {
	t.Parallel()
	server := cluster.Server(t)
	here := directory.New(directory.Config{Store: server.Open(t, "directory/")})
	defer here.Close()
	there := directory.New(directory.Config{Store: server.Open(t, "directory/")})
	defer there.Close()

	made, err := here.Bootstrap(t.Context(), directory.BootstrapConfig{Account: account})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := there.Bootstrap(t.Context(), directory.BootstrapConfig{Account: account}); err != nil || *again != (directory.Bootstrapped{}) {
		t.Errorf("the other's Bootstrap = %+v, %v, want nothing made", again, err)
	}
	c, err := there.Lookup(t.Context(), made.AccessKeyID, "")
	if err != nil {
		t.Fatal(err)
	}
	// A token of one is good with the other.
	issued, err := here.Issue(t.Context(), directory.Session{Account: account, Type: caller.User, ID: c.Principal.ID, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.Lookup(t.Context(), issued.AccessKeyID, issued.SessionToken); err != nil {
		t.Errorf("the other's token: %v", err)
	}

	if err := here.Update(t.Context(), func(tx *directory.Tx) error {
		u, err := tx.User(account, "admin")
		if err != nil {
			return err
		}
		return tx.DeleteUser(u)
	}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		_, key := there.Lookup(t.Context(), made.AccessKeyID, "")
		_, token := there.Lookup(t.Context(), issued.AccessKeyID, issued.SessionToken)
		if key == gateway.ErrUnknownKey && token == gateway.ErrInvalidToken {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Lookup = %v and %v, want ErrUnknownKey and ErrInvalidToken within 5 s", key, token)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	f := open(t)
	role := f.role(t, "App")
	user, _ := f.user(t, "Bob")
	for _, tt := range []struct{ principal, want string }{
		{role.ARN(), role.ID},
		{user.ARN(), user.ID},
		{role.ID, role.ID},
		{account, account},
		{"999999999999", "999999999999"},
		{"*", "*"},
		{"arn:aws:iam::" + account + ":root", "arn:aws:iam::" + account + ":root"},
		{"arn:aws:sts::" + account + ":assumed-role/App/s", "arn:aws:sts::" + account + ":assumed-role/App/s"},
		{"arn:aws:iam::" + account + ":role/app", ""}, // an ARN's case counts
		{"arn:aws:iam::" + account + ":role/path/App", ""},
		{"arn:aws:iam::" + account + ":role/nobody", ""},
		{"arn:aws:iam::" + account + ":group/g", ""},
		{"arn:aws:iam::" + account + ":user/*", ""},
		{"arn:aws:sts::" + account + ":assumed-role/App", ""},
		{"AROAAAAAAAAAAAAAAAAAA", ""},
		{"bob", ""},
		{"", ""},
	} {
		got, err := f.Resolve(t.Context(), tt.principal)
		if tt.want == "" {
			if err != directory.ErrNotFound {
				t.Errorf("Resolve(%q) = %q, %v, want ErrNotFound", tt.principal, got, err)
			}
		} else if got != tt.want || err != nil {
			t.Errorf("Resolve(%q) = %q, %v, want %q", tt.principal, got, err, tt.want)
		}
	}
	if arn, err := f.ARNOf(t.Context(), role.ID); arn != role.ARN() || err != nil {
		t.Errorf("ARNOf(role) = %q, %v", arn, err)
	}
	f.update(t, func(tx *directory.Tx) error { return tx.DeleteRole(role) })
	if arn, err := f.ARNOf(t.Context(), role.ID); err != directory.ErrNotFound {
		t.Errorf("ARNOf(deleted role) = %q, %v, want ErrNotFound", arn, err)
	}
	if _, err := f.Role(t.Context(), role.ARN()); err != directory.ErrNotFound {
		t.Errorf("Role(deleted) = %v, want ErrNotFound", err)
	}
}

func TestLastUsed(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, key := f.user(t, "bob")
	_, other := f.user(t, "carol")
	d := directory.New(directory.Config{Store: f.store})
	p := &caller.Principal{Type: caller.User, ID: key.Owner, AccessKeyID: key.ID}
	ctx := as(t.Context(), p)
	if used, err := d.LastUsed(ctx, p.AccessKeyID); err != nil || !used.Time.IsZero() {
		t.Errorf("before: %+v, %v", used, err)
	}
	d.MarkUsed(ctx, p)
	d.MarkUsed(ctx, &caller.Principal{Type: caller.User, ID: other.Owner, AccessKeyID: other.ID})
	f.update(t, func(tx *directory.Tx) error { return tx.DeleteAccessKey(other.ID) })
	want := directory.Used{Time: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), Region: "eu-central-1", Service: "ssm"}
	if used, err := d.LastUsed(ctx, p.AccessKeyID); err != nil || used != want {
		t.Errorf("after: %+v, %v, want %+v", used, err, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again := directory.New(directory.Config{Store: f.store})
	defer again.Close()
	if used, err := again.LastUsed(ctx, other.ID); err != nil || !used.Time.IsZero() {
		t.Errorf("of a deleted key: %+v, %v", used, err)
	}
	if used, err := again.LastUsed(ctx, p.AccessKeyID); err != nil || used != want {
		t.Errorf("after a restart: %+v, %v, want %+v", used, err, want)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	const read = `{"Version":"2012-10-17","Statement":[{"Sid":"read","Effect":"Allow","Action":"ssm:GetParameter","Resource":"*"}]}`
	f := open(t)
	role := f.role(t, "App")
	issued := f.session(t, directory.Session{Account: account, Type: caller.AssumedRole, ID: role.ID, Name: "s", Policies: []string{read}})
	c, err := f.Lookup(t.Context(), issued.AccessKeyID, issued.SessionToken)
	if err != nil {
		t.Fatal(err)
	}
	ctx := as(t.Context(), c.Principal)
	names := func() (identity []string, boundary string, sessions int) {
		t.Helper()
		set, err := f.Policies(ctx, c.Principal)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range set.Identity {
			identity = append(identity, s.Name+" "+s.ARN)
		}
		if set.Boundary != nil {
			boundary = set.Boundary.ARN
		}
		if !set.HasSession {
			t.Error("HasSession = false")
		}
		return identity, boundary, len(set.Session)
	}
	if identity, boundary, sessions := names(); identity != nil || boundary != "" || sessions != 1 {
		t.Errorf("at first: %q, %q, %d", identity, boundary, sessions)
	}
	f.update(t, func(tx *directory.Tx) error {
		r, err := tx.Role(account, "app")
		if err != nil {
			return err
		}
		r.Inline = []directory.Inline{{Name: "p", Document: read}}
		r.Attached = []string{"arn:aws:iam::aws:policy/ReadOnlyAccess"}
		r.Boundary = "arn:aws:iam::aws:policy/PowerUserAccess"
		return tx.PutRole(r)
	})
	for range 2 {
		identity, boundary, _ := names()
		if diff := cmp.Diff([]string{"p ", "ReadOnlyAccess arn:aws:iam::aws:policy/ReadOnlyAccess"}, identity); diff != "" || boundary != "arn:aws:iam::aws:policy/PowerUserAccess" {
			t.Errorf("after the change: boundary %q, identity (-want +got):\n%s", boundary, diff)
		}
	}
	f.update(t, func(tx *directory.Tx) error { return tx.DeleteRole(role) })
	if identity, _, _ := names(); identity != nil {
		t.Errorf("of a deleted role: %q", identity)
	}
	root := &caller.Principal{Type: caller.Account, Account: account, ID: account}
	if set, err := f.Policies(as(t.Context(), root), root); err != nil || len(set.Identity) != 0 || set.HasSession {
		t.Errorf("root's = %+v, %v", set, err)
	}
}

// Lookups that race with writes never bring back what was before the write.
func TestNoStaleAnswerAfterUpdate(t *testing.T) {
	t.Parallel()
	f := open(t)
	_, key := f.user(t, "bob")
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f.Lookup(context.Background(), key.ID, "")
				}
			}
		})
	}
	for i := range 500 {
		k := *key
		k.Active = i%2 == 0
		f.update(t, func(tx *directory.Tx) error { return tx.PutAccessKey(&k) })
		_, err := f.Lookup(t.Context(), key.ID, "")
		if k.Active != (err == nil) {
			t.Fatalf("write %d: active %v, Lookup = %v", i, k.Active, err)
		}
	}
	close(stop)
	readers.Wait()
}

// Everything that a request costs in the directory when nothing changed.
func BenchmarkLookupAndPolicies(b *testing.B) {
	const read = `{"Version":"2012-10-17","Statement":[{"Sid":"read","Effect":"Allow","Action":"ssm:GetParameter","Resource":"*"}]}`
	f := open(b)
	_, key := f.user(b, "bob")
	role := f.role(b, "App")
	session := f.session(b, directory.Session{Account: account, Type: caller.AssumedRole, ID: role.ID, Name: "s"})
	limited := f.session(b, directory.Session{Account: account, Type: caller.AssumedRole, ID: role.ID, Name: "s", Policies: []string{read}})
	for _, bb := range []struct{ name, id, token string }{
		{"user", key.ID, ""},
		{"session", session.AccessKeyID, session.SessionToken},
		{"session with a policy", limited.AccessKeyID, limited.SessionToken},
	} {
		b.Run(bb.name, func(b *testing.B) {
			c, err := f.Lookup(b.Context(), bb.id, bb.token)
			if err != nil {
				b.Fatal(err)
			}
			ctx := as(b.Context(), c.Principal)
			b.ReportAllocs()
			for b.Loop() {
				c, err := f.Lookup(ctx, bb.id, bb.token)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.Policies(ctx, c.Principal); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("session unsealed anew", func(b *testing.B) {
		for b.Loop() {
			f.update(b, func(*directory.Tx) error { return nil })
			if _, err := f.Lookup(b.Context(), session.AccessKeyID, session.SessionToken); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Whatever the token, only what Issue made is let in.
func FuzzToken(f *testing.F) {
	fix := open(f)
	role := fix.role(f, "App")
	issued := fix.session(f, directory.Session{Account: account, Type: caller.AssumedRole, ID: role.ID, Name: "s"})
	f.Add(issued.AccessKeyID, issued.SessionToken)
	f.Add("ASIAAAAAAAAAAAAAAAAA", "AQ==")
	f.Add("ASIAAAAAAAAAAAAAAAAA", "")
	f.Fuzz(func(t *testing.T, id, token string) {
		c, err := fix.Lookup(t.Context(), id, token)
		if err == nil && (id != issued.AccessKeyID || token != issued.SessionToken) {
			t.Errorf("Lookup(%q, %q) = %+v", id, token, c.Principal)
		}
		if err != nil && err != gateway.ErrUnknownKey && err != gateway.ErrInvalidToken {
			t.Errorf("Lookup(%q, %q): %v", id, token, err)
		}
	})
}

// Printing or logging a record by mistake tells no secret.
func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	const secret = "do-not-print-me"
	for _, v := range []any{
		directory.AccessKey{ID: "AKIA", Secret: secret}, &directory.AccessKey{ID: "AKIA", Secret: secret},
		directory.Session{Secret: secret}, &directory.Session{Secret: secret},
		directory.Issued{SecretAccessKey: secret, SessionToken: secret},
		directory.Bootstrapped{SecretAccessKey: secret},
		directory.BootstrapConfig{AdminSecretAccessKey: secret, RootSecretAccessKey: secret},
	} {
		var out strings.Builder
		fmt.Fprintf(&out, "%v %+v %#v %s", v, v, v, v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		if strings.Contains(out.String(), secret) {
			t.Errorf("%T prints its secret: %s", v, out.String())
		}
	}
}
